//! XenStore: the wire protocol, a client, and a store in this process to test against.
