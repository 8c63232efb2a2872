//! The network of vnode's labs: namespaces, links, bridges, shaping, the control network. The only code that speaks netlink
//! and nftables.
//!
//! * [`Ns`] is a network namespace held by descriptor, with netlink sockets made inside it.
//! * [`Host`] is the namespace the daemon lives in; it makes bridges ([`BridgeSpec`], [`LanSpec`]), pairs ([`PairSpec`]),
//!   VXLAN ([`VxlanSpec`]) and MACVLAN ([`MacvlanSpec`]) links, and lends its own interfaces to nodes.
//! * [`impair`] shapes what one end sends; [`block`] takes an end down and up without touching its configuration.
//! * [`TapSpec`] is a virtual machine's end of an interface.
//! * [`control`] is a lab's management network: addresses, NAT, port forwards, protection against spoofing.
//! * [`ownership`] marks every object made in the host's namespace and finds them again; nothing unmarked is ever removed.
//! * [`capture`] reads frames as a pcap file, [`state`] lists what a namespace holds.
//!
//! Every call blocks until the kernel has answered; nothing here needs a runtime. No call changes the namespace of the
//! thread it is made on. No external program is started.

pub mod block;
pub mod capture;
pub mod control;
mod error;
mod features;
mod host;
pub mod impair;
mod interface;
mod lan;
mod lend;
mod mac;
mod macvlan;
mod name;
pub mod netlink;
mod nft;
mod ns;
pub mod ownership;
mod pair;
pub mod state;
mod tap;
pub mod vxlan;

pub use error::{Error, Result};
pub use features::Features;
pub use host::{BridgeSpec, Host};
pub use lan::{Lan, LanSpec, MEMBERS_PER_BRIDGE};
pub use mac::Mac;
pub use macvlan::{DummySpec, MacvlanMode, MacvlanSpec};
pub use name::{InterfaceName, host_name, interface_name};
pub use ns::Ns;
pub use ownership::Owner;
pub use pair::{End, PairSpec, Place, Route};
pub use tap::TapSpec;
pub use vxlan::{OVERHEAD_V4, OVERHEAD_V6, VxlanSpec, VxlanTarget};
