//! Sockets in a namespace, bound to one interface of it.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use vnode_network::{Ns, state};

/// The interface that is served.
#[derive(Debug, Clone)]
pub(crate) struct Device<'a> {
    ns: &'a Ns,
    name: String,
    index: u32,
}

impl<'a> Device<'a> {
    pub(crate) fn find(ns: &'a Ns, name: &str) -> io::Result<Self> {
        let found = state::interfaces(ns).map_err(io::Error::other)?;
        let index = found.iter().find(|interface| interface.name == name).map(|found| found.index);
        let index = index.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { ns, name: name.to_owned(), index })
    }

    /// Makes a socket in the namespace; the work runs on a thread that is in it.
    fn socket(
        &self,
        (domain, kind, protocol): (Domain, Type, Protocol),
        groups: &'static [Ipv6Addr],
        rest: impl FnOnce(&Socket) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Socket> {
        let (name, index) = (self.name.clone(), self.index);
        let make = move || {
            let socket = Socket::new(domain, kind, Some(protocol))?;
            socket.set_nonblocking(true)?;
            socket.bind_device(Some(name.as_bytes()))?;
            for group in groups {
                socket.join_multicast_v6(group, index)?;
            }
            rest(&socket)?;
            Ok(socket)
        };
        self.ns.run(make).map_err(io::Error::other)?
    }

    /// A datagram socket at `address`, in these multicast groups.
    pub(crate) fn datagram(
        &self,
        address: SocketAddr,
        groups: &'static [Ipv6Addr],
    ) -> io::Result<tokio::net::UdpSocket> {
        let form = (Domain::for_address(address), Type::DGRAM, Protocol::UDP);
        let socket = self.socket(form, groups, move |socket| {
            // Another lab's server has the same port on its own bridge.
            socket.set_reuse_address(true)?;
            if address.is_ipv4() {
                socket.set_broadcast(true)?;
            } else {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())
        })?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    /// A raw ICMPv6 socket in these groups; it is used as a datagram socket is.
    pub(crate) fn icmp6(&self, groups: &'static [Ipv6Addr]) -> io::Result<tokio::net::UdpSocket> {
        /// Nodes believe advertisements only from their own link (RFC 4861, 6.1.2).
        const HOPS: u32 = 255;
        let form = (Domain::IPV6, Type::RAW, Protocol::ICMPV6);
        let socket = self.socket(form, groups, |socket| {
            socket.set_multicast_hops_v6(HOPS)?;
            socket.set_unicast_hops_v6(HOPS)?;
            socket.set_multicast_loop_v6(false)
        })?;
        tokio::net::UdpSocket::from_std(socket.into())
    }

    /// A listening stream socket.
    pub(crate) fn listener(
        &self,
        address: SocketAddr,
        backlog: i32,
    ) -> io::Result<tokio::net::TcpListener> {
        let form = (Domain::for_address(address), Type::STREAM, Protocol::TCP);
        let socket = self.socket(form, &[], move |socket| {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)
        })?;
        tokio::net::TcpListener::from_std(socket.into())
    }

    /// An address of one link, on this one.
    pub(crate) fn scoped(&self, address: Ipv6Addr, port: u16) -> SocketAddr {
        std::net::SocketAddrV6::new(address, port, 0, self.index).into()
    }
}

/// The next datagram for a server of `what`: its length, and who sent it.
pub(crate) async fn receive(
    socket: &tokio::net::UdpSocket,
    buffer: &mut [u8],
    what: &str,
    bridge: &str,
) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer).await {
            Ok(received) => return received,
            Err(error) => {
                tracing::debug!(%error, bridge, "{what}");
                // The interface is gone, and the server soon, too.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
