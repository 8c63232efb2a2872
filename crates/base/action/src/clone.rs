//! Starting a process without copying our memory.
