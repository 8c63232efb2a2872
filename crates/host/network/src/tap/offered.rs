//! Taps that another program opens in the host's namespace before they come to their node.

use std::io;

use super::{TAP, make};
use crate::netlink::{Batch, rtnl};
use crate::{Error, Mac, Ns, Owner, Result};

impl Ns {
    /// Makes a tap here, in the host's namespace, for another program to open: marked as `owner`'s, down, joined to nothing. An
    /// earlier tap of that name, which nobody may have open, is replaced. Once it is open, [`take_in`](Self::take_in) brings it
    /// to its node: a descriptor goes on to serve a tap that moves.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the kernel lacks taps.
    pub fn offer_tap(&self, name: &str, user: u32, owner: &Owner, what: &str) -> Result<()> {
        self.remove_interface(name)?;
        let made = name.to_owned();
        self.visit(move || make(&made, user, TAP)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::Unsupported => Error::Unsupported {
                what: "network interfaces of domains".into(),
                feature: "taps (/dev/net/tun)".into(),
                hint: "load or build the kernel's tun driver (CONFIG_TUN)".into(),
            },
            _ => Error::Socket { what: format!("make tap `{name}`"), source },
        })?;
        let mut batch = Batch::new();
        rtnl::set_link(&mut batch, name, None, format!("mark tap `{name}` as ours"))
            .bytes(libc::IFLA_IFALIAS, owner.mark(what).as_bytes());
        self.change(&batch)
    }

    /// Takes an interface that another program holds or made, a tap or the end of a pair, from the namespace `from` into this
    /// one, under its own name, and joins it to `interface`.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Unsupported`] as for [`create_tap`](Self::create_tap).
    pub fn take_in(&self, from: &Ns, name: &str, interface: &str) -> Result<()> {
        self.remove_tap(name, interface)?;
        from.move_interface(name, self, name)?;
        self.join_tap(name, interface)
    }

    /// Gives the interface of this Ethernet address name and MTU: the far end of a pair that another program made, in this
    /// namespace of a container. One that has its name already stays as it is but for the MTU.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Refused`] when the name is another's.
    pub fn name_by_mac(&self, mac: Mac, name: &str, mtu: u32) -> Result<()> {
        let all = crate::state::interfaces(self)?;
        let found = all.into_iter().find(|interface| interface.mac == Some(mac));
        let found = found.ok_or_else(|| Error::NoInterface {
            name: mac.to_string(),
            place: format!("the network of {}", self.what()),
        })?;
        let mut batch = Batch::new();
        if found.name != name {
            // One that is up keeps its name.
            let down = format!("take interface `{}` down", found.name);
            rtnl::set_link(&mut batch, &found.name, Some(false), down);
            let what = format!("call interface `{}` `{name}`", found.name);
            batch
                .message(libc::RTM_NEWLINK, 0, &rtnl::link_header(found.index, 0, 0), what)
                .text(libc::IFLA_IFNAME, name);
        }
        if found.mtu != mtu {
            let what = format!("give interface `{name}` the MTU {mtu}");
            batch
                .message(libc::RTM_NEWLINK, 0, &rtnl::link_header(found.index, 0, 0), what)
                .u32(libc::IFLA_MTU, mtu);
        }
        self.change(&batch)
    }
}
