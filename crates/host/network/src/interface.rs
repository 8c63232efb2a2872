//! Single interfaces: looked up, configured, removed; offloads by the ethtool ioctl.
//!
//! The ioctls go to the netlink socket: any socket serves them, and this one is in the right namespace already.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;

use crate::name::NAME_MAX;
use crate::netlink::{Batch, Socket, rtnl};
use crate::{Error, Ns, Result, Route};

/// `SIOCGIFINDEX` of `linux/sockios.h`.
const GET_INDEX: libc::Ioctl = 0x8933;
/// `SIOCETHTOOL`.
const ETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_STSO`, `ETHTOOL_SGSO`, `ETHTOOL_SGRO` of `linux/ethtool.h`.
const SEGMENTATION: [u32; 3] = [0x1f, 0x24, 0x2c];

/// `struct ifreq`: a name and 24 bytes whose meaning is the request's.
#[repr(C)]
struct Request {
    name: [u8; NAME_MAX + 1],
    value: Value,
}

#[repr(C)]
union Value {
    index: i32,
    data: *mut libc::c_void,
    space: [u64; 3],
}

impl Request {
    fn new(name: &str) -> io::Result<Request> {
        let mut request = Request { name: [0; NAME_MAX + 1], value: Value { space: [0; 3] } };
        match request.name[..NAME_MAX].get_mut(..name.len()) {
            Some(space) => space.copy_from_slice(name.as_bytes()),
            None => return Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
        Ok(request)
    }
}

fn index_of(socket: &Socket, name: &str) -> io::Result<Option<u32>> {
    let mut request = match Request::new(name) {
        Ok(request) => request,
        Err(_) => return Ok(None),
    };
    // SAFETY: SIOCGIFINDEX reads the name and writes the index, both within `request`.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), GET_INDEX, &raw mut request) };
    if done < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENODEV) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the kernel has just written this member, and every member is plain data.
    Ok(u32::try_from(unsafe { request.value.index }).ok())
}

fn segmentation_off(socket: &Socket, name: &str) -> io::Result<()> {
    for command in SEGMENTATION {
        let mut value = [command, 0]; // struct ethtool_value
        let mut request = Request::new(name)?;
        request.value.data = value.as_mut_ptr().cast();
        // SAFETY: the request points to a struct ethtool_value that lives through the call.
        let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), ETHTOOL, &raw mut request) };
        if done < 0 {
            let error = io::Error::last_os_error();
            // A MACVLAN has its parent's, and none to turn off: one segment at most is what counts then.
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
        }
    }
    Ok(())
}

impl Ns {
    /// Index of an interface by its name (or an alternative one of at most 15 bytes).
    pub(crate) fn index(&self, name: &str) -> Result<Option<u32>> {
        self.with_route(|socket| index_of(socket, name))
    }

    /// As [`Ns::index`] for one that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<u32> {
        self.index(name)?.ok_or_else(|| Error::NoInterface {
            name: name.into(),
            place: format!("the network of {}", self.what()),
        })
    }

    /// Makes the interface send and deliver frames as they are on the wire, none larger: a shaper must not take a super-frame
    /// of 64 KiB for one frame (S12). Done to both ends of a link that is shaped. A node that forwards what it received over an
    /// unshaped link still forwards super-frames; do this to the ends of that link too where it matters.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Refused`].
    pub fn plain_frames(&self, interface: &str) -> Result<()> {
        let index = self.need(interface)?;
        // Off as a feature, segmentation would still be done, after the shaper: TCP builds super-frames whatever the device
        // says (Linux 4.17 and later), unless they may have one segment only.
        let mut batch = Batch::new();
        let what = format!("limit interface `{interface}` to frames as on the wire");
        batch
            .message(libc::RTM_NEWLINK, 0, &rtnl::link_header(index, 0, 0), what)
            .u32(libc::IFLA_GSO_MAX_SEGS, 1);
        self.change(&batch)?;
        self.with_route(|socket| segmentation_off(socket, interface))
    }

    /// Adds addresses (those there already are kept), takes the interface up, and sets routes: a route is refused while its
    /// interface is down.
    ///
    /// # Errors
    /// [`Error::NoInterface`], and the first refusal.
    pub fn configure(&self, interface: &str, addresses: &[IpNet], routes: &[Route]) -> Result<()> {
        let index = self.need(interface)?;
        let mut batch = Batch::new();
        configure(&mut batch, interface, index, addresses, Some(true), routes, "");
        self.change(&batch)
    }

    /// Takes an interface up or down as `ip link set` does. To cut a link and keep its configuration see [`crate::block`].
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_up(&self, interface: &str, up: bool) -> Result<()> {
        let mut batch = Batch::new();
        let what = format!("take interface `{interface}` {}", if up { "up" } else { "down" });
        rtnl::set_link(&mut batch, interface, Some(up), what);
        self.change(&batch)
    }

    /// Removes an interface inside a node; `false` when there is none.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn remove_interface(&self, interface: &str) -> Result<bool> {
        if self.index(interface)?.is_none() {
            return Ok(false);
        }
        let mut batch = Batch::new();
        rtnl::delete_link(&mut batch, interface);
        self.change(&batch)?;
        Ok(true)
    }
}

/// Addresses, then up or down, then routes. `link` is added to errors, in parentheses.
pub(crate) fn configure(
    batch: &mut Batch,
    interface: &str,
    index: u32,
    addresses: &[IpNet],
    up: Option<bool>,
    routes: &[Route],
    link: &str,
) {
    let of = match link {
        "" => String::new(),
        link => format!(" (link `{link}`)"),
    };
    for address in addresses {
        let what = format!("give address {address} to interface `{interface}`{of}");
        rtnl::add_address(batch, index, *address, what);
    }
    if let Some(up) = up {
        let word = if up { "up" } else { "down" };
        let header = rtnl::link_header(index, if up { rtnl::IFF_UP } else { 0 }, rtnl::IFF_UP);
        let what = format!("take interface `{interface}` {word}{of}");
        batch.message(libc::RTM_NEWLINK, 0, &header, what);
    }
    for route in routes {
        let what = format!("set the route to {} through interface `{interface}`{of}", route.to);
        rtnl::set_route(batch, index, route, what);
    }
}
