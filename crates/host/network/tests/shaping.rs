//! Shapers and links taken down, on kernels with and without netem, held against what Debian's `tc` sees.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::time::{Duration, Instant};

use common::{bursts_through_a_queue_of_ten, inside, json, listen, nets, number, pings, run, send};
use vnode_network::block::{Way, block, forget, is_blocked, unblock};
use vnode_network::impair::{self, Context};
use vnode_network::{Error, Features, Host, Ns, PairSpec};
use vnode_protocol::impairment::{Impairment, Queue};

const CONTEXT: Context<'static> = Context { link: "a -- b", end: "a:eth1" };

/// Two nodes and the link between them, 10.0.0.1 and .2, fd00::1 and ::2; the first sends through `impairment`.
fn link(host: &Host, impairment: Option<&Impairment>) -> [Ns; 2] {
    let [a, b] = [Ns::create().unwrap(), Ns::create().unwrap()];
    let (left, right) =
        (nets(&["10.0.0.1/24", "fd00::1/64"]), nets(&["10.0.0.2/24", "fd00::2/64"]));
    let mut pair = PairSpec {
        link: "a -- b",
        a: inside(&a, "eth1", &left),
        b: inside(&b, "eth1", &right),
        mtu: None,
    };
    pair.a.impairment = impairment;
    host.link_pair(&pair).unwrap();
    [a, b]
}

fn rate(bps: u64, queue: Option<Queue>) -> Impairment {
    Impairment { rate_bps: Some(bps), queue, ..Impairment::default() }
}

/// The `tbf` discipline as `tc` shows it.
fn tbf(ns: &Ns) -> serde_json::Value {
    let seen = json(ns, "tc -j -s qdisc show dev eth1");
    let found = seen.as_array().unwrap().iter().find(|one| one["kind"] == "tbf").cloned();
    found.expect("a tbf discipline")
}

#[test]
fn t66_a_queue_of_ten_packets_passes_ten_and_the_one_under_way() {
    let Some(host) = common::host() else { return };
    let shaped = rate(1_000_000, Some(Queue::Packets(10)));
    let [a, b] = link(&host, Some(&shaped));
    // 1,472 bytes make a full frame: a burst of 50 loses 39 or 40.
    let lost = bursts_through_a_queue_of_ten(&a, &b);
    let current = impair::read(&a, "eth1").unwrap();
    assert!(current.matches(&shaped), "{current:?}");
    // A solicitation of the kernel's own may meet the full queue as well.
    let drops = current.drops as usize;
    assert!((lost..=lost + 4).contains(&drops), "{drops} {lost}");

    let bytes = rate(1_000_000, Some(Queue::Bytes(15_140)));
    impair::apply(&a, "eth1", &bytes, &CONTEXT).unwrap();
    bursts_through_a_queue_of_ten(&a, &b);
    assert!(impair::read(&a, "eth1").unwrap().matches(&bytes));
}

#[test]
fn s1_the_sender_is_shaped_and_the_receiver_is_not() {
    let Some(host) = common::host() else { return };
    let [a, b] = link(&host, Some(&rate(5_000_000, None)));
    assert_eq!(tbf(&a)["options"]["rate"], 625_000);
    assert!(!json(&b, "tc -j qdisc show dev eth1").to_string().contains("tbf"));
    // S12: neither end sends frames that are larger than on the wire.
    for ns in [&a, &b] {
        assert_eq!(json(ns, "ip -j -d link show eth1")[0]["gso_max_segs"], 1);
        let Ok(seen) = std::panic::catch_unwind(|| run(ns, "ethtool -k eth1")) else {
            println!("skipped: no ethtool"); // a program of its own package
            return;
        };
        for feature in ["tcp-segmentation-offload", "generic-segmentation-offload"] {
            assert!(seen.contains(&format!("{feature}: off")), "{seen}");
        }
    }
}

#[test]
fn t68_a_rate_changes_in_place_and_nothing_is_lost() {
    let Some(host) = common::host() else { return };
    let slow = rate(2_000_000, Some(Queue::Packets(500)));
    let [a, b] = link(&host, Some(&slow));
    let before = tbf(&a);
    assert!(pings(&a, "10.0.0.2"));
    let listener = listen(&b);
    let sender = {
        let a = a.clone();
        std::thread::spawn(move || {
            send(&a, "10.0.0.2:4000", 200, 1000, Duration::from_millis(1));
        })
    };
    for rate_bps in [3_000_000, 5_000_000_000, 9_000_000, 4_000_000] {
        std::thread::sleep(Duration::from_millis(30));
        let changed = rate(rate_bps, Some(Queue::Packets(500)));
        impair::apply(&a, "eth1", &changed, &CONTEXT).unwrap();
        assert!(impair::read(&a, "eth1").unwrap().matches(&changed));
    }
    sender.join().unwrap();
    let arrived: Vec<u32> = (0..200).map_while(|_| number(&listener)).collect();
    assert_eq!(arrived, (0..200).collect::<Vec<_>>());
    let after = tbf(&a);
    assert_eq!(before["handle"], after["handle"]);
    assert_eq!(after["drops"], 0);
    assert!(after["packets"].as_u64().unwrap() >= 200, "counters stay");

    // Taking the rate away leaves the discipline, with nothing to do.
    impair::apply(&a, "eth1", &Impairment::default(), &CONTEXT).unwrap();
    let current = impair::read(&a, "eth1").unwrap();
    assert!(current.matches(&Impairment::default()), "{current:?}");
    impair::clear(&a, "eth1").unwrap();
    impair::clear(&a, "eth1").unwrap();
    assert!(impair::read(&a, "eth1").unwrap().matches(&Impairment::default()));
}

#[test]
fn rates_from_8_kbit_to_100_gbit_are_held_exactly() {
    let Some(host) = common::host() else { return };
    let [a, _b] = link(&host, None);
    for rate_bps in [8_000, 64_000, 999_999_992, 10_000_000_000, 40_000_000_000, 100_000_000_000] {
        let wanted = rate(rate_bps, None);
        impair::apply(&a, "eth1", &wanted, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert_eq!(current.impairment.rate_bps, Some(rate_bps));
        assert!(current.matches(&wanted), "{current:?}");
        assert_eq!(tbf(&a)["options"]["rate"], rate_bps / 8);
    }
    for rate_bps in [7_999, 100_000_000_001] {
        let error = impair::apply(&a, "eth1", &rate(rate_bps, None), &CONTEXT).unwrap_err();
        assert!(error.to_string().contains("`a -- b`, end `a:eth1`: cannot set rate"), "{error}");
    }
}

#[test]
fn t78_a_change_by_hand_is_seen_and_mended() {
    let Some(host) = common::host() else { return };
    let declared = rate(1_000_000, Some(Queue::Packets(20)));
    let [a, b] = link(&host, Some(&declared));
    assert!(impair::read(&a, "eth1").unwrap().matches(&declared));
    for by_hand in [
        "tc qdisc del dev eth1 root",
        "tc qdisc replace dev eth1 root tbf rate 5mbit burst 5kb limit 30kb",
        "tc qdisc replace dev eth1 root handle 9: htb",
        "tc qdisc replace dev eth1 root pfifo limit 5",
    ] {
        run(&a, by_hand);
        assert!(!impair::read(&a, "eth1").unwrap().matches(&declared), "{by_hand}");
        impair::apply(&a, "eth1", &declared, &CONTEXT).unwrap();
        assert!(impair::read(&a, "eth1").unwrap().matches(&declared), "{by_hand}");
        assert!(pings(&b, "10.0.0.1"));
    }
}

#[test]
fn t75_what_the_kernel_lacks_is_refused_before_anything_is_made() {
    let Some(host) = common::host() else { return };
    let delayed = Impairment { delay_us: 10_000, ..Impairment::default() };
    let without = Features { netem: false, ..host.features().unwrap() };
    let error = impair::check(&without, &delayed, &CONTEXT).unwrap_err();
    assert!(matches!(&error, Error::Impairment { parameter, .. } if parameter == "delay"));
    assert!(error.to_string().starts_with("link `a -- b`, end `a:eth1`: cannot set delay: "));
    let lossy = Impairment { loss: 1.5, ..Impairment::default() };
    let error = impair::check(&host.features().unwrap(), &lossy, &CONTEXT).unwrap_err();
    assert!(matches!(error, Error::Impairment { parameter, .. } if parameter == "loss"));
    if host.features().unwrap().netem {
        return; // the rest is for kernels without it
    }
    let [a, b] = [Ns::create().unwrap(), Ns::create().unwrap()];
    let mut pair = PairSpec {
        link: "a -- b",
        a: inside(&a, "eth1", &[]),
        b: inside(&b, "eth1", &[]),
        mtu: None,
    };
    pair.b.impairment = Some(&delayed);
    let error = host.link_pair(&pair).unwrap_err();
    assert!(error.to_string().contains("cannot set delay"), "{error}");
    assert!(!a.has_interface("eth1").unwrap() && !b.has_interface("eth1").unwrap());
}

#[test]
fn t65_frames_with_vlan_tags_fit_through_a_shaper() {
    let Some(host) = common::host() else { return };
    let [a, b] = link(&host, Some(&rate(1_000_000, None)));
    let received =
        || json(&b, "ip -j -s link show eth1")[0]["stats64"]["rx"]["packets"].as_u64().unwrap();
    let before = received();
    // A full frame with a tag; one more would fit the bucket, but a packet socket does not send it.
    let mut frame = [[0xff; 6], [0x02; 6]].concat();
    frame.extend([0x81, 0, 0, 12, 0x08, 0]);
    frame.resize(frame.len() + 1500, 7);
    common::send_frame(&a, "eth1", frame);
    common::eventually("the tagged frame", || received() > before);
}

#[test]
fn t67_what_an_end_sends_is_cut_where_it_is_sent() {
    let Some(host) = common::host() else { return };
    let [a, b] = link(&host, None);
    assert!(pings(&a, "10.0.0.2"));
    block(&a, "eth1", Way::Out).unwrap();
    assert!(is_blocked(&a, "eth1", Way::Out).unwrap() && !is_blocked(&a, "eth1", Way::In).unwrap());
    let heard =
        || json(&b, "ip -j -s link show eth1")[0]["stats64"]["rx"]["packets"].as_u64().unwrap();
    let before = heard();
    assert!(!pings(&a, "10.0.0.2"));
    assert_eq!(heard(), before);
    block(&a, "eth1", Way::In).unwrap();
    unblock(&a, "eth1", Way::Out).unwrap();
    assert!(is_blocked(&a, "eth1", Way::In).unwrap() && !is_blocked(&a, "eth1", Way::Out).unwrap());
    block(&a, "eth1", Way::Out).unwrap();
    forget(&a, "eth1").unwrap();
    common::eventually("the link", || pings(&a, "10.0.0.2"));
    assert!(!run(&a, "nft list tables").contains("vnode_block"));
}

#[test]
fn t67_a_link_that_is_down_carries_nothing_and_keeps_everything() {
    let Some(host) = common::host() else { return };
    let [a, b] = link(&host, Some(&rate(1_000_000, None)));
    assert!(pings(&a, "10.0.0.2"));
    for ns in [&a, &b] {
        assert!(!is_blocked(ns, "eth1", Way::In).unwrap());
        block(ns, "eth1", Way::In).unwrap();
        block(ns, "eth1", Way::In).unwrap();
        assert!(is_blocked(ns, "eth1", Way::In).unwrap());
    }
    assert!(run(&a, "nft list table netdev vnode_block").contains("comment \"vnode"));
    let at = Instant::now();
    assert!(!pings(&a, "10.0.0.2") && !pings(&b, "fd00::1"));
    assert!(at.elapsed() > Duration::from_secs(1), "silence, not an error");
    assert_eq!(json(&a, "ip -j link show eth1")[0]["operstate"], "UP");
    impair::apply(&a, "eth1", &rate(2_000_000, None), &CONTEXT).unwrap();
    for ns in [&a, &b] {
        unblock(ns, "eth1", Way::In).unwrap();
        unblock(ns, "eth1", Way::In).unwrap();
        assert!(!is_blocked(ns, "eth1", Way::In).unwrap());
    }
    // The first ping may still wait for a neighbour that was asked for in vain while the link was down.
    common::eventually("the link", || pings(&a, "10.0.0.2") && pings(&b, "fd00::1"));
    assert_eq!(tbf(&a)["options"]["rate"], 250_000, "changed while it was down");
    assert!(matches!(block(&a, "eth9", Way::In), Err(Error::NoInterface { .. })));
    assert!(
        !run(&a, "nft list tables").contains("vnode_block"),
        "the last chain takes its table along"
    );
}
