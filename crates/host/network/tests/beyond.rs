//! What leads beyond a host's bridges: VXLAN, MACVLAN, lent interfaces; and captures.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::io::Read;
use std::time::Duration;

use common::{bridge, inside, json, nets, outside, owner, pings, run};
use vnode_network::capture::{Capture, CaptureSpec};
use vnode_network::{
    DummySpec, Error, Host, MacvlanMode, MacvlanSpec, Ns, PairSpec, VxlanSpec, VxlanTarget, impair,
    ownership,
};
use vnode_protocol::impairment::Impairment;

/// Two hosts on one wire: 192.0.2.1 and .2.
fn hosts() -> Option<[Host; 2]> {
    let hosts = [common::host()?, common::host()?];
    let (one, two) = (nets(&["192.0.2.1/24"]), nets(&["192.0.2.2/24"]));
    let pair = PairSpec {
        link: "wire",
        a: inside(hosts[0].ns(), "eth0", &one),
        b: inside(hosts[1].ns(), "eth0", &two),
        mtu: None,
    };
    hosts[0].link_pair(&pair).unwrap();
    Some(hosts)
}

#[test]
fn t81_a_vxlan_joins_nodes_of_two_hosts_and_its_mtu_fits() {
    let Some([here, there]) = hosts() else { return };
    let owner = owner();
    let spec = |name, remote: &str, target| VxlanSpec {
        link: "far",
        name,
        vni: 77,
        remote: remote.parse().unwrap(),
        port: 4789,
        source_port: None,
        local: None,
        ttl: 16,
        mtu: None,
        mac: None,
        owner: &owner,
        what: "link far",
        target,
        impairment: None,
    };
    // One side ends in a node, the other on a bridge.
    let [one, two] = [Ns::create().unwrap(), Ns::create().unwrap()];
    let target = VxlanTarget::Node { ns: &one, name: "eth1" };
    here.create_vxlan(&spec("vnvx", "192.0.2.2", target)).unwrap();
    one.configure("eth1", &nets(&["10.7.0.1/24"]), &[]).unwrap();
    bridge(&there, "vnbr", &[]);
    there.create_vxlan(&spec("vnvx", "192.0.2.1", VxlanTarget::Bridge("vnbr"))).unwrap();
    let addresses = nets(&["10.7.0.2/24"]);
    there
        .link_pair(&PairSpec {
            link: "far",
            a: inside(&two, "eth1", &addresses),
            b: outside(&owner, "vnport", Some("vnbr")),
            mtu: Some(1450),
        })
        .unwrap();
    assert!(pings(&one, "10.7.0.2"));
    run(&one, "ping -n -c 1 -W 2 -M do -s 1422 10.7.0.2");
    let seen = json(&one, "ip -j -d link show eth1");
    let data = &seen[0]["linkinfo"]["info_data"];
    assert_eq!((&data["id"], &data["port"], &data["ttl"]), (&77.into(), &4789.into(), &16.into()));
    assert_eq!(seen[0]["mtu"], 1450);
    let again = here.create_vxlan(&spec("vnvx2", "192.0.2.2", VxlanTarget::Bridge("none")));
    assert!(matches!(again, Err(Error::NoInterface { name, .. }) if name == "none"));
    let again = there.create_vxlan(&spec("vnvx2", "192.0.2.1", VxlanTarget::Bridge("vnbr")));
    assert!(again.unwrap_err().to_string().contains("VXLAN 77 to 192.0.2.1 for link `far`"));
    assert!(!there.ns().has_interface("vnvx2").unwrap());
    assert!(there.remove_link("vnvx").unwrap());
    assert!(one.remove_interface("eth1").unwrap());
}

#[test]
fn a_macvlan_has_its_own_address_on_the_hosts_network() {
    let Some([here, there]) = hosts() else { return };
    let owner = owner();
    let node = Ns::create().unwrap();
    let addresses = nets(&["192.0.2.50/24"]);
    let mut shaped = Impairment::default();
    shaped.set("rate", "50mbit").unwrap();
    let mut spec = MacvlanSpec {
        link: "mac",
        parent: "eth0",
        mode: MacvlanMode::Bridge,
        owner: &owner,
        ns: &node,
        name: "eth0",
        alternative_name: Some("a-name-longer-than-fifteen"),
        mac: Some("02:00:00:00:00:50".parse().unwrap()),
        mtu: None,
        addresses: &addresses,
        routes: &[],
        impairment: Some(&shaped),
    };
    here.create_macvlan(&spec).unwrap();
    assert!(impair::read(&node, "eth0").unwrap().matches(&shaped), "shaped before it is up");
    assert!(pings(&node, "192.0.2.2"));
    assert!(pings(there.ns(), "192.0.2.50"));
    let seen = json(&node, "ip -j -d link show a-name-longer-than-fifteen");
    assert_eq!(seen[0]["linkinfo"]["info_data"]["mode"], "bridge");
    assert_eq!(seen[0]["address"], "02:00:00:00:00:50");
    assert!(here.create_macvlan(&spec).is_err(), "the name is taken");
    assert_eq!(ownership::list_owned(&here, "test").unwrap(), [], "nothing of it is left");
    spec.parent = "eth7";
    assert!(matches!(here.create_macvlan(&spec), Err(Error::NoInterface { .. })));
    (spec.parent, spec.mode, spec.name) = ("eth0", "source".parse().unwrap(), "eth1");
    (spec.mac, spec.addresses, spec.alternative_name) = (None, &[], None);
    here.create_macvlan(&spec).unwrap();
    let seen = json(&node, "ip -j -d link show eth1");
    assert_eq!(seen[0]["linkinfo"]["info_data"]["mode"], "source");
    assert_eq!("vepa".parse::<MacvlanMode>().unwrap(), MacvlanMode::Vepa);
    assert!("macvtap".parse::<MacvlanMode>().is_err());
}

#[test]
fn a_lent_interface_comes_back_as_it_was() {
    let Some([here, there]) = hosts() else { return };
    let node = Ns::create().unwrap();
    let lent = here.plan_lend("eth0", "ens3").unwrap();
    for _ in 0..2 {
        here.lend(&lent, &node).unwrap();
    }
    node.configure("ens3", &nets(&["192.0.2.9/24"]), &[]).unwrap();
    assert!(!here.ns().has_interface("eth0").unwrap());
    assert!(pings(there.ns(), "192.0.2.9"));
    for _ in 0..2 {
        here.take_back(&lent, &node).unwrap();
    }
    let seen = json(here.ns(), "ip -j link show eth0");
    assert_eq!(seen[0]["operstate"], "UP");
    assert!(matches!(here.plan_lend("lo", "x"), Err(Error::Invalid { .. })));
    assert!(matches!(here.plan_lend("eth9", "x"), Err(Error::NoInterface { .. })));
    bridge(&here, "vnbr", &[]);
    here.attach("eth0", "vnbr").unwrap();
    assert!(matches!(here.plan_lend("eth0", "x"), Err(Error::Invalid { .. })));
}

#[test]
fn a_dummy_is_made_or_its_driver_is_named() {
    let Some(host) = common::host() else { return };
    let mut shaped = Impairment::default();
    shaped.set("rate", "50mbit").unwrap();
    let made = host.create_dummy(&DummySpec {
        link: "sink",
        ns: host.ns(),
        name: "sink",
        mac: None,
        mtu: Some(2000),
        addresses: &nets(&["10.0.0.1/32"]),
        impairment: Some(&shaped),
    });
    if host.features().unwrap().dummy {
        made.unwrap();
        assert_eq!(json(host.ns(), "ip -j link show sink")[0]["mtu"], 2000);
        assert!(impair::read(host.ns(), "sink").unwrap().matches(&shaped));
    } else {
        let text = made.unwrap_err().to_string();
        assert!(text.contains("`sink` needs the dummy driver"), "{text}");
        println!("skipped: no dummy");
    }
}

/// Frames of a pcap file: seconds, original length, bytes.
fn frames(file: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let number = |at: usize| u32::from_ne_bytes(*file[at..].first_chunk().unwrap());
    assert_eq!(number(0), 0xa1b2_3c4d);
    assert_eq!(&file[4..8], &[2, 0, 4, 0]);
    assert_eq!(number(20), 1, "Ethernet");
    let mut at = 24;
    let mut found = Vec::new();
    while at < file.len() {
        let length = number(at + 8) as usize;
        found.push((number(at), number(at + 12), file[at + 16..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    assert_eq!(at, file.len());
    found
}

#[test]
fn a_capture_is_a_pcap_file_of_both_directions() {
    let Some([here, there]) = hosts() else { return };
    let spec = CaptureSpec { interface: "eth0".into(), snaplen: 60 };
    let mut capture = Capture::open(here.ns(), &spec).unwrap();
    let stopper = capture.stopper();
    assert!(pings(there.ns(), "192.0.2.1"));
    run(there.ns(), "ping -n -c 2 -i 0.2 -s 500 192.0.2.1");
    stopper.stop();
    let mut file = Vec::new();
    capture.read_to_end(&mut file).unwrap();
    let frames = frames(&file);
    let pings: Vec<_> = frames.iter().filter(|(_, length, _)| *length == 542).collect();
    assert_eq!(pings.len(), 4, "requests and answers");
    assert!(pings.iter().all(|(seconds, _, kept)| *seconds > 1_600_000_000 && kept.len() == 60));
    let counts = capture.counts().unwrap();
    assert!(counts.received >= 6 && counts.dropped == 0);
    assert_eq!(counts, capture.counts().unwrap());
}

#[test]
fn a_capture_ends_with_its_interface_and_not_before() {
    let Some([here, _there]) = hosts() else { return };
    let mut capture =
        Capture::open(here.ns(), &CaptureSpec { interface: "eth0".into(), snaplen: 0 }).unwrap();
    let reader = std::thread::spawn(move || {
        let mut file = Vec::new();
        capture.read_to_end(&mut file).unwrap();
        file.len()
    });
    here.ns().set_up("eth0", false).unwrap();
    here.ns().set_up("eth0", true).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!reader.is_finished());
    here.ns().remove_interface("eth0").unwrap();
    assert!(reader.join().unwrap() >= 24);
    let missing = CaptureSpec { interface: "eth0".into(), snaplen: 0 };
    assert!(matches!(Capture::open(here.ns(), &missing), Err(Error::NoInterface { .. })));
}
