//! The inside of a container of libvirt's LXC driver. Its ends of the node's interfaces come there by the driver's hand, some
//! without name and address; nobody in a container waits for a cable to be plugged in, so both are given from outside.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vnode_driver::Error;
use vnode_network::{Ns, Route};

use crate::domain::{Domain, State};
use crate::hub::refused;
use crate::nic::{Nic, network};
use crate::typed::VirError;

/// libvirt's name of its driver of containers.
pub(crate) const LXC: &str = "LXC";

/// libvirt says that a container is started before it has been told of the first process: until then it knows none, or looks
/// for that of the run before, which is gone.
const TOLD: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until libvirt knows the first process of a container that has just been started. `false`: the container runs, and
/// libvirt has not been told. What its controller says of the process can get lost in libvirt, which then never knows one:
/// no interface can be plugged into that run, and only another start mends it.
pub(crate) fn told(domain: &Domain) -> Result<bool, VirError> {
    Ok(first_process(domain)?.is_some() || !lives(domain))
}

fn lives(domain: &Domain) -> bool {
    matches!(domain.state(), Ok(State::Running | State::Paused))
}

/// The network namespace of the first process, waited for.
fn first_process(domain: &Domain) -> Result<Option<OwnedFd>, VirError> {
    let end = Instant::now() + TOLD;
    loop {
        match domain.netns()? {
            None if Instant::now() < end && lives(domain) => std::thread::sleep(LOOK),
            found => return Ok(found),
        }
    }
}

/// The network namespace of a container that runs.
pub(crate) fn inside(node: &str, domain: &Domain, host: &Ns) -> Result<Ns, Error> {
    let refused = |error| refused(node, "enter the network", error);
    let found = first_process(domain).map_err(refused)?;
    let found =
        found.ok_or_else(|| refused(VirError::own("libvirt gives no network namespace")))?;
    let ns = Ns::from_fd(found).map_err(network)?;
    if ns.id() == host.id() {
        return Err(Error::Unsupported {
            node: node.to_owned(),
            what: "the container shares the host's network: put `<features><privnet/></features>` into its definition, or \
                   write `network-mode: none` and leave its links out"
                .to_owned(),
        });
    }
    Ok(ns)
}

/// Gives the container's end of an interface what the node's has. Done again, it changes nothing.
pub(crate) fn settle(ns: &Ns, nic: &Nic) -> Result<(), Error> {
    let gateway = |via: &IpAddr| Route {
        to: match via {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        },
        via: Some(*via),
        metric: None,
    };
    let routes: Vec<Route> = nic.gateways.iter().map(gateway).collect();
    let work = || {
        ns.name_by_mac(nic.mac, &nic.name, nic.mtu)?;
        ns.configure(&nic.name, &nic.addresses, &routes)
    };
    let done = work().map_err(network);
    ns.close_sockets();
    done
}
