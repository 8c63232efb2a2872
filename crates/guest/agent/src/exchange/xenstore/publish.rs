//! Facts about the guest for XAPI-based tool stacks.
