//! Setting addresses and routes ourselves: for guests in which nobody else does.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::KernelError;
use super::message::Request;
use super::socket::Socket;
use super::state::read;
use crate::model::{Interface, Route};
use crate::nic::Nic;

/// `IFLA_MTU`, `RTPROT_STATIC`, `RTNH_F_ONLINK`: names `libc` has not for every target.
const IFLA_MTU: u16 = 4;
const RTPROT_STATIC: u8 = 4;
const RTNH_F_ONLINK: u32 = 4;

/// Takes the lasting addresses of an interface away that are not in `keep`; link-local ones stay.
///
/// # Errors
/// When the kernel refuses.
pub fn flush(name: &str, keep: &[IpNet]) -> Result<(), KernelError> {
    let state = read(|other| other == name)?;
    let mut socket = Socket::open().map_err(KernelError::io("open a netlink socket"))?;
    for address in &state.addresses {
        if !address.global || keep.contains(&address.net) {
            continue;
        }
        let request = address_request(libc::RTM_DELADDR, 0, address.index, address.net);
        match socket.change(request) {
            // A secondary address goes with its primary one.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            other => {
                other.map_err(KernelError::io(format!("remove {} from {name}", address.net)))?
            }
        }
    }
    Ok(())
}

/// Makes an interface what is wanted: up, with these addresses and routes and no other lasting addresses.
///
/// # Errors
/// When the interface is not there, or the kernel refuses.
pub fn apply(interface: &Interface) -> Result<(), KernelError> {
    let name = &interface.name;
    let state = read(|other| other == name)?;
    let nic = state.nics.first().ok_or_else(|| KernelError::NoInterface(name.clone()))?;
    let mut socket = Socket::open().map_err(KernelError::io("open a netlink socket"))?;
    up(&mut socket, nic, interface.config.mtu_bytes)
        .map_err(KernelError::io(format!("set {name} up")))?;
    if !interface.config.accept_ra {
        refuse_advertisements(name)?;
    }
    for net in state.surplus(interface) {
        let request = address_request(libc::RTM_DELADDR, 0, nic.index, net);
        match socket.change(request) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            other => other.map_err(KernelError::io(format!("remove {net} from {name}")))?,
        }
    }
    for net in interface.config.addresses() {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        socket
            .change(address_request(libc::RTM_NEWADDR, flags, nic.index, net))
            .map_err(KernelError::io(format!("give {net} to {name}")))?;
    }
    for route in interface.config.all_routes() {
        let on_link = interface.config.on_link(route.gateway);
        set_route(&mut socket, nic.index, route, on_link).map_err(KernelError::io(format!(
            "route {} by {} on {name}",
            route.destination, route.gateway
        )))?;
    }
    // Routes by a gateway that were there and are not wanted any more.
    let state = read(|other| other == name)?;
    for entry in &state.routes {
        let Some(gateway) = entry.gateway else { continue };
        let route = Route { destination: entry.destination, gateway };
        let family_managed = match gateway {
            IpAddr::V4(_) => !interface.config.dhcp4,
            IpAddr::V6(_) => !interface.config.dhcp6 && !interface.config.accept_ra,
        };
        if family_managed && !interface.config.all_routes().any(|wanted| wanted == route) {
            let request = route_request(libc::RTM_DELROUTE, 0, entry.index, route, false);
            match socket.change(request) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other.map_err(KernelError::io(format!(
                    "remove the route to {} from {name}",
                    entry.destination
                )))?,
            }
        }
    }
    Ok(())
}

/// A static interface takes no addresses and routes from routers. A kernel without IPv6 has no such switch.
fn refuse_advertisements(name: &str) -> Result<(), KernelError> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
    match std::fs::write(&path, "0") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // In a container the switch may be somebody else's.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other.map_err(KernelError::io(format!("write `{path}`"))),
    }
}

fn up(socket: &mut Socket, nic: &Nic, mtu_bytes: Option<u32>) -> io::Result<()> {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&nic.index.to_ne_bytes());
    let flag = (libc::IFF_UP as u32).to_ne_bytes();
    fixed[8..12].copy_from_slice(&flag);
    fixed[12..16].copy_from_slice(&flag);
    let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &fixed);
    if let Some(mtu) = mtu_bytes {
        request = request.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    }
    socket.change(request)
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn address_request(kind: u16, flags: i32, index: u32, net: IpNet) -> Request {
    let mut fixed = [0; 8];
    fixed[0] = family(net.addr());
    fixed[1] = net.prefix_len();
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let request = Request::new(kind, flags | libc::NLM_F_ACK, &fixed)
        .address(libc::IFA_LOCAL, net.addr())
        .address(libc::IFA_ADDRESS, net.addr());
    match net {
        // Without it, `ip` and others show and use no broadcast address.
        IpNet::V4(v4) if kind == libc::RTM_NEWADDR && v4.prefix_len() < 31 => {
            request.address(libc::IFA_BROADCAST, v4.broadcast().into())
        }
        _ => request,
    }
}

fn set_route(socket: &mut Socket, index: u32, route: Route, on_link: bool) -> io::Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    socket.change(route_request(libc::RTM_NEWROUTE, flags, index, route, on_link))
}

fn route_request(kind: u16, flags: i32, index: u32, route: Route, on_link: bool) -> Request {
    let mut fixed = [0; 12];
    fixed[0] = family(route.gateway);
    fixed[1] = route.destination.prefix_len();
    fixed[4] = libc::RT_TABLE_MAIN;
    if kind == libc::RTM_NEWROUTE {
        fixed[5] = RTPROT_STATIC;
        fixed[7] = libc::RTN_UNICAST;
        if on_link {
            fixed[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
        }
    } else {
        fixed[6] = libc::RT_SCOPE_NOWHERE;
    }
    let mut request = Request::new(kind, flags | libc::NLM_F_ACK, &fixed);
    if route.destination.prefix_len() > 0 {
        request = request.address(libc::RTA_DST, route.destination.addr());
    }
    request.address(libc::RTA_GATEWAY, route.gateway).attribute(libc::RTA_OIF, &index.to_ne_bytes())
}
