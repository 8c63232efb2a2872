//! Taps of virtual machines, joined to the interfaces of a node's namespace.
//!
//! Whatever arrives at the one is sent out of the other, unchanged: an nftables table of the `netdev` family forwards every
//! ethertype at the ingress of both. So a machine's frames pass the interface's shaper as a container's do, and an end that
//! is taken down ([`crate::block`], which comes first at ingress) is down for the machine too. The namespace's own stack
//! sees nothing of what arrives.

mod offered;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::netlink::{Batch, rtnl};
use crate::nft::{self, Chain, Family, Hook, Rule, Transaction};
use crate::{Error, Ns, Result};

const TABLE: &str = "vnode_machine";
const COMMENT: &str = "vnode: interfaces that are a virtual machine's; made and removed by vnode";
/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR` of `linux/if_tun.h`, and `IFF_MULTI_QUEUE`.
const TAP: i32 = 0x0002 | 0x1000 | 0x4000;
const MULTI_QUEUE: i32 = 0x0100;
/// `_IOW('T', n, int)`.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;

/// A tap and the interface it is joined to.
#[derive(Debug, Clone, Copy)]
pub struct TapSpec<'a> {
    pub name: &'a str,
    /// User that may open it without any capability.
    pub owner: u32,
    /// It may be opened several times, a queue each.
    pub multiqueue: bool,
    /// The interface; the tap gets its MTU.
    pub interface: &'a str,
}

impl Ns {
    /// Makes a tap and joins it to an interface. An earlier tap of that name, which nobody may have open, is replaced.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Unsupported`] where the kernel lacks taps or forwarding between interfaces.
    pub fn create_tap(&self, spec: &TapSpec<'_>) -> Result<()> {
        self.remove_tap(spec.name, spec.interface)?;
        let (name, owner) = (spec.name.to_owned(), spec.owner);
        let flags = if spec.multiqueue { TAP | MULTI_QUEUE } else { TAP };
        self.visit(move || make(&name, owner, flags)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::Unsupported => Error::Unsupported {
                what: "network interfaces of virtual machines".into(),
                feature: "taps (/dev/net/tun)".into(),
                hint: "load or build the kernel's tun driver (CONFIG_TUN)".into(),
            },
            _ => Error::Socket { what: format!("make tap `{}`", spec.name), source },
        })?;
        self.join_tap(spec.name, spec.interface)
    }

    /// Joins a tap that is there to an interface, one that was made anew under the name of the tap's former one for instance.
    ///
    /// # Errors
    /// As [`Ns::create_tap`].
    pub fn join_tap(&self, name: &str, interface: &str) -> Result<()> {
        let joined = crate::state::interface(self, interface)?.ok_or_else(|| {
            Error::NoInterface { name: interface.into(), place: self.what().into() }
        })?;
        let mut batch = Batch::new();
        let what = format!("set up tap `{name}`");
        rtnl::set_link(&mut batch, name, Some(true), what).mtu(Some(joined.mtu));
        self.change(&batch)?;
        let tap = self.need(name)?;
        self.part(name, interface)?;
        let mut transaction = Transaction::new();
        transaction.table(Family::Netdev, TABLE, COMMENT);
        for (from, to) in [(name, joined.index), (interface, tap)] {
            let hook =
                Hook { kind: "filter", number: 0, priority: 0, drop: false, device: Some(from) };
            transaction.chain(Family::Netdev, TABLE, Chain { name: from, hook: Some(hook) });
            transaction.rule(Family::Netdev, TABLE, from, &Rule::new().forward(to));
        }
        transaction.commit(self).map_err(|error| match error {
            Error::Refused { source, .. }
                if matches!(source.errno, libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT) =>
            {
                Error::Unsupported {
                    what: "joining a virtual machine to its links".into(),
                    feature: "nftables that forwards between interfaces".into(),
                    hint: "load or build nft_fwd_netdev (CONFIG_NFT_FWD_NETDEV)".into(),
                }
            }
            other => other,
        })
    }

    /// Removes a tap and what joins it to its interface; idempotent.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_tap(&self, name: &str, interface: &str) -> Result<()> {
        self.part(name, interface)?;
        self.remove_interface(name).map(drop)
    }

    /// Takes away what joins the two.
    fn part(&self, name: &str, interface: &str) -> Result<()> {
        let mut transaction = Transaction::new();
        // Newer kernels keep the chain of an interface that is gone; older ones take it along.
        for chain in nft::base_chains(self)? {
            let ours = chain.family == Family::Netdev.number() && chain.table == TABLE;
            if ours && (chain.name == name || chain.name == interface) {
                transaction.remove_chain(Family::Netdev, TABLE, &chain.name);
            }
        }
        transaction.commit(self)
    }
}

/// Makes a tap that stays when the descriptor is closed, in the namespace of the calling thread.
fn make(name: &str, owner: u32, flags: i32) -> io::Result<()> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    let checked = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, which lives through the call.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    // SAFETY: the argument is a number.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOWNER, libc::c_ulong::from(owner)) })?;
    // SAFETY: as above.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, 1 as libc::c_ulong) })
}
