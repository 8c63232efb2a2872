//! The guest agent: exchanges bring requests in, parsers read them, commands do the work.
