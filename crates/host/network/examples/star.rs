//! Builds a star of N namespaces on one bridge as a lab would, and prints what each part cost: to be held against the floor
//! of the same netlink messages with nothing else (`netns_floor.c`).
//!
//! Usage, as root: `star N [REPEAT] [MAXIMUM_PER_CALL]`
//!
//! Each node has loopback and eth0 up and one IPv4 address; each host end a mark, no address of its own, and is a port of the
//! bridge. Works in a namespace of its own.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use vnode_network::{BridgeSpec, End, Host, Ns, Owner, PairSpec, Place, host_name};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let count = arguments.next().transpose()?.unwrap_or(100);
    let repeat = arguments.next().transpose()?.unwrap_or(5).max(1);
    let at_once = arguments.next().transpose()?.unwrap_or(usize::MAX);
    let mut rounds = Vec::new();
    for _ in 0..repeat {
        rounds.push(round(count, at_once)?);
    }
    print!("star N={count} median(best) of {repeat}:");
    for (at, name) in ["netns", "links", "up-total", "down-total"].iter().enumerate() {
        let mut times: Vec<Duration> = rounds.iter().map(|round| round[at]).collect();
        times.sort();
        let (median, best) = (times[repeat / 2], times[0]);
        print!("  {name} {}({}) ms", median.as_millis(), best.as_millis());
        print!("={} us/node", median.as_micros() / count.max(1) as u128);
    }
    println!();
    Ok(())
}

fn round(count: usize, at_once: usize) -> Result<[Duration; 4], Box<dyn std::error::Error>> {
    let host = Host::new(Ns::create()?);
    let owner = Owner { instance: "bench".into(), lab: "star".into(), operation: "1".into() };
    let begin = Instant::now();
    let nodes = (0..count).map(|_| Ns::create()).collect::<Result<Vec<_>, _>>()?;
    let made = begin.elapsed();
    host.ensure_bridge(&BridgeSpec {
        name: "vnstar".into(),
        addresses: Vec::new(),
        mtu: None,
        ageing_s: None,
        owner: owner.clone(),
        what: "lan star".into(),
    })?;
    let names: Vec<String> =
        (0..count).map(|at| host_name(&["bench", "star", &at.to_string()])).collect();
    let addresses: Vec<IpNet> = (0..count as u32)
        .map(|at| IpNet::new((0x0a63_0001u32 + at).to_be_bytes().into(), 16))
        .collect::<Result<_, _>>()?;
    let end = |place, name, addresses| End {
        place,
        name,
        alternative_name: None,
        mac: None,
        addresses,
        routes: &[],
        impairment: None,
        up: true,
    };
    let pairs: Vec<PairSpec<'_>> = (0..count)
        .map(|at| {
            let place = Place::Host { bridge: Some("vnstar"), owner: &owner, what: "lan star" };
            PairSpec {
                link: "star",
                a: end(Place::Node(&nodes[at]), "eth0", std::slice::from_ref(&addresses[at])),
                b: end(place, &names[at], &[]),
                mtu: None,
            }
        })
        .collect();
    for some in pairs.chunks(at_once) {
        host.link_pairs(some)?;
    }
    let up = begin.elapsed();
    drop(pairs);
    let begin = Instant::now();
    host.remove_link("vnstar")?;
    drop(nodes);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    host.wait_gone(&names, Instant::now() + Duration::from_secs(60))?;
    Ok([made, up - made, up, begin.elapsed()])
}
