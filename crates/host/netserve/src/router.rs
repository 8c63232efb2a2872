//! Router advertisements (RFC 4861): the gateway is the router, addresses come by DHCP. A node would be let send with no
//! address it made itself, so none is offered to be made.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::Network;
use crate::socket::{Device, receive};

/// All routers of a link, and all nodes.
const GROUPS: &[Ipv6Addr] = &[Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2)];
const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Between two advertisements nobody asked for.
const EVERY: Duration = Duration::from_secs(200);
/// A router that has not been heard of for so long is none any more.
const LIFETIME: u16 = 1800;
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;

fn advertisement(gateway: Ipv6Net, mtu: u16) -> Vec<u8> {
    const HOPS: u8 = 64;
    /// Addresses and everything else by DHCP.
    const MANAGED: u8 = 0xc0;
    /// The prefix is on the link; nobody makes addresses of it.
    const ON_LINK: u8 = 0x80;
    let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, HOPS, MANAGED];
    bytes.extend(LIFETIME.to_be_bytes());
    // Times of neighbour discovery: the node's own.
    bytes.extend([0; 8]);
    bytes.extend([5, 1, 0, 0]);
    bytes.extend(u32::from(mtu).to_be_bytes());
    bytes.extend([3, 4, gateway.prefix_len(), ON_LINK]);
    // Valid and preferred for ever; then nothing, and the prefix.
    bytes.extend([0xff; 8]);
    bytes.extend([0; 4]);
    bytes.extend(gateway.network().octets());
    bytes
}

pub(crate) fn start(
    device: &Device<'_>,
    gateway: Ipv6Net,
    network: &Arc<Network>,
) -> io::Result<JoinHandle<()>> {
    let socket = device.icmp6(GROUPS)?;
    let everybody = device.scoped(NODES, 0);
    let bytes = advertisement(gateway, network.mtu);
    let network = Arc::clone(network);
    Ok(tokio::spawn(async move {
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = [0; 64];
        loop {
            let to = tokio::select! {
                _ = clock.tick() => everybody,
                (length, from) = receive(&socket, &mut buffer, "router advertisements", &network.bridge) => {
                    if length < 8 || buffer[0] != SOLICITATION {
                        continue;
                    }
                    asker(from, everybody)
                }
            };
            if let Err(error) = socket.send_to(&bytes, to).await {
                tracing::debug!(%error, %to, "a router advertisement is lost");
            }
        }
    }))
}

/// A node that has no address yet is answered with everybody.
fn asker(from: SocketAddr, everybody: SocketAddr) -> SocketAddr {
    match from {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => from,
        _ => everybody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_router_and_addresses_come_by_dhcp() {
        let bytes = advertisement("3fff:172:20:20::1/64".parse().unwrap(), 1450);
        assert_eq!(bytes.len(), 16 + 8 + 32);
        assert_eq!(bytes[..8], [134, 0, 0, 0, 64, 0xc0, 7, 8]);
        assert_eq!(bytes[16..24], [5, 1, 0, 0, 0, 0, 5, 170]);
        assert_eq!(bytes[24..28], [3, 4, 64, 0x80]);
        assert_eq!(bytes[40..48], [0x3f, 0xff, 1, 0x72, 0, 0x20, 0, 0x20]);
    }
}
