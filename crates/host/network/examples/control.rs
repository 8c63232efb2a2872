//! Prints what a control network costs for each of N nodes: permissions and a port forward made and taken away one by one.
//!
//! Usage, as root: `control N`. Works in a namespace of its own; the ports need not exist.

use std::net::Ipv4Addr;
use std::time::Instant;

use vnode_network::control::{Control, ControlPort, ControlSpec, Forward, Protocol};
use vnode_network::{Host, Mac, Ns, Owner};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(100), |word| word.parse())?;
    let host = Host::new(Ns::create()?);
    host.features()?;
    let begin = Instant::now();
    let control = Control::ensure(
        &host,
        &ControlSpec {
            owner: Owner { instance: "bench".into(), lab: "control".into(), operation: "1".into() },
            gateways: vec!["10.0.0.1/16".parse()?, "fd00::1/64".parse()?],
            mtu: None,
            nat: true,
            external_access: false,
        },
    )?;
    println!("ensure {} us", begin.elapsed().as_micros());
    let nodes: Vec<(ControlPort, Forward)> = (0..count)
        .map(|at| {
            let address = Ipv4Addr::from(0x0a00_0002 + at);
            let port = ControlPort {
                port: format!("vnport{at}"),
                mac: Mac::from_name(&at.to_string()),
                addresses: vec![address.into(), address.to_ipv6_mapped().into()],
            };
            let forward = Forward {
                protocol: Protocol::Tcp,
                host_address: None,
                host_port: 10_000 + at as u16,
                node_address: address.into(),
                node_port: 22,
            };
            (port, forward)
        })
        .collect();
    let each = |name: &str,
                work: &dyn Fn(&ControlPort, &Forward) -> vnode_network::Result<()>|
     -> vnode_network::Result<()> {
        let begin = Instant::now();
        for (port, forward) in &nodes {
            work(port, forward)?;
        }
        println!("{name} {} us/node", begin.elapsed().as_micros() / u128::from(count.max(1)));
        Ok(())
    };
    each("add node", &|port, _| control.add_nodes(std::slice::from_ref(port)))?;
    each("add forward", &|_, forward| control.add_forwards(std::slice::from_ref(forward)))?;
    each("remove forward", &|_, forward| control.remove_forwards(std::slice::from_ref(forward)))?;
    each("remove node", &|port, _| control.forget_nodes(std::slice::from_ref(port)))?;
    let begin = Instant::now();
    control.remove()?;
    println!("remove {} us", begin.elapsed().as_micros());
    Ok(())
}
