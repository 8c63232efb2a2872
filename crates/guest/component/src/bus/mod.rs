//! What stands on the bus: addresses, objects, their description, and refusals.

pub(crate) mod introspect;
pub(crate) mod names;
pub(crate) mod object;
pub(crate) mod refusal;
pub(crate) mod socket;

/// Where the bus of the components listens; a constant of upstream.
pub const DEFAULT_ADDRESS: &str = "unix:path=/var/run/vci/vci_bus_socket";

pub(crate) const READ: &str = "net.vyatta.vci.config.read";
pub(crate) const WRITE: &str = "net.vyatta.vci.config.write";
pub(crate) const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
pub(crate) const PEER: &str = "org.freedesktop.DBus.Peer";
pub(crate) const RUNNING: &str = "/running";
pub(crate) const STATE: &str = "/state";
