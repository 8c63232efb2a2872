//! An operator's program, run for events.
