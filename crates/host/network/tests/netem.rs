//! What needs netem: delay, loss and their like. On a kernel without it each test says so; they run in the guest too.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use common::{
    bursts_through_a_queue_of_ten, inside, json, listen, nets, number, numbers, pings, run, send,
};
use vnode_network::block::{Way, block, unblock};
use vnode_network::capture::{Capture, CaptureSpec};
use vnode_network::impair::{self, Context};
use vnode_network::{Error, Features, Ns, PairSpec};
use vnode_protocol::impairment::{Distribution, Impairment, Queue};

const CONTEXT: Context<'static> = Context { link: "a -- b", end: "a:eth1" };

/// Two nodes, 10.0.0.1 and .2, fd00::1 and ::2, and the impairment of each direction; `None` without netem.
fn link(there: &Impairment, back: &Impairment) -> Option<[Ns; 2]> {
    let host = common::host()?;
    if !host.features().unwrap().netem {
        println!("skipped: no netem");
        return None;
    }
    let [a, b] = [Ns::create().unwrap(), Ns::create().unwrap()];
    let left = nets(&["10.0.0.1/24", "fd00::1/64"]);
    let right = nets(&["10.0.0.2/24", "fd00::2/64"]);
    let mut pair = PairSpec {
        link: "a -- b",
        a: inside(&a, "eth1", &left),
        b: inside(&b, "eth1", &right),
        mtu: None,
    };
    pair.a.impairment = Some(there);
    pair.b.impairment = Some(back);
    host.link_pair(&pair).unwrap();
    Some([a, b])
}

fn perfect() -> Impairment {
    Impairment::default()
}

fn delay(delay_us: u64) -> Impairment {
    Impairment { delay_us, ..perfect() }
}

/// Shortest of ten round trips, in milliseconds.
fn round_trip(from: &Ns, to: &str) -> f64 {
    let text = run(from, &format!("ping -n -c 10 -i 0.1 -W 3 {to}"));
    let figures = text.lines().find(|line| line.starts_with("rtt")).expect("ping's summary");
    let least = figures.split(" = ").nth(1).and_then(|rest| rest.split('/').next());
    least.unwrap().parse().unwrap()
}

/// The netem discipline as `tc` shows it.
fn netem(ns: &Ns) -> serde_json::Value {
    let seen = json(ns, "tc -j -s qdisc show dev eth1");
    let found = seen.as_array().unwrap().iter().find(|one| one["kind"] == "netem").cloned();
    found.expect("a netem discipline")
}

#[test]
fn t62_fractions_of_a_millisecond_are_kept() {
    let Some([a, b]) = link(&delay(400), &delay(400)) else { return };
    assert!(round_trip(&a, "10.0.0.2") >= 0.8);
    assert_eq!(netem(&a)["options"]["delay"]["delay"], 0.0004);
    for delay_us in [50, 1, 123_457] {
        impair::apply(&b, "eth1", &delay(delay_us), &CONTEXT).unwrap();
        let current = impair::read(&b, "eth1").unwrap();
        assert_eq!(current.impairment.delay_us, delay_us);
        assert!(current.matches(&delay(delay_us)));
    }
}

#[test]
fn t63_a_delay_without_a_rate_applies_and_limits_nothing() {
    let Some([a, _b]) = link(&delay(20_000), &perfect()) else { return };
    assert!(round_trip(&a, "10.0.0.2") >= 20.0);
    let seen = json(&a, "tc -j qdisc show dev eth1");
    assert!(!seen.to_string().contains("tbf"));
    // 10 Gbit/s for 20 ms, twice.
    assert!(netem(&a)["options"]["limit"].as_u64().unwrap() >= 33_333);
}

#[test]
fn t61_each_direction_has_its_own_figures() {
    let Some([a, b]) = link(&delay(10_000), &delay(60_000)) else { return };
    let one_way = |from: &Ns, to: &Ns, address: &'static str| {
        let listener = listen(to);
        let sent = SystemTime::now();
        send(from, address, 1, 100, Duration::ZERO);
        listener.recv_from(&mut [0; 200]).unwrap();
        sent.elapsed().unwrap()
    };
    assert!(pings(&a, "10.0.0.2"));
    // The shortest tells: a busy machine delays some by more than the link does.
    let least = |from, to, address| (0..20).map(|_| one_way(from, to, address)).min().unwrap();
    let there = least(&a, &b, "10.0.0.2:4000");
    let back = least(&b, &a, "10.0.0.1:4000");
    assert!(there >= Duration::from_millis(10) && there < Duration::from_millis(60), "{there:?}");
    assert!(back >= Duration::from_millis(60), "{back:?}");
}

#[test]
fn t64_what_is_under_way_on_a_long_fast_link_fits_in_its_queue() {
    let long = Impairment { rate_bps: Some(1_000_000_000), ..delay(50_000) };
    let Some([a, b]) = link(&long, &perfect()) else { return };
    // 1 Gbit/s for 50 ms are 4,200 full frames: all of them are sent before the first arrives.
    assert!(netem(&a)["options"]["limit"].as_u64().unwrap() >= 2 * 4_167);
    assert!(pings(&a, "10.0.0.2"));
    let listener = listen(&b);
    send(&a, "10.0.0.2:4000", 4_200, 1472, Duration::ZERO);
    assert_eq!(numbers(&listener).len(), 4_200);
    assert_eq!(impair::read(&a, "eth1").unwrap().drops, 0);
}

#[test]
fn t65_every_ethertype_is_delayed() {
    let Some([a, b]) = link(&delay(50_000), &perfect()) else { return };
    assert!(round_trip(&a, "fd00::2") >= 50.0);
    for kind in [[0x08, 0x06], [0x88, 0xcc], [0x81, 0x00]] {
        let spec = CaptureSpec { interface: "eth1".into(), snaplen: 0 };
        let mut capture = Capture::open(&b, &spec).unwrap();
        let mut frame = [[0xff; 6], [0x02; 6]].concat();
        frame.extend(kind);
        frame.extend([0, 12, 0x08, 0, 0xab, 0xcd]);
        frame.resize(80, 0x5a);
        let sent = SystemTime::now();
        common::send_frame(&a, "eth1", frame.clone());
        capture.read_exact(&mut [0; 24]).unwrap();
        loop {
            let mut header = [0; 16];
            capture.read_exact(&mut header).unwrap();
            let number = |at: usize| u32::from_ne_bytes(*header[at..].first_chunk().unwrap());
            let mut found = vec![0; number(8) as usize];
            capture.read_exact(&mut found).unwrap();
            if found == frame {
                let arrived = SystemTime::UNIX_EPOCH + Duration::new(number(0).into(), number(4));
                let passed = arrived.duration_since(sent).unwrap();
                assert!(passed >= Duration::from_millis(50), "{kind:x?}: {passed:?}");
                break;
            }
        }
    }
}

#[test]
fn t60_loss_is_a_ratio_of_frames() {
    let lossy = Impairment { loss: 0.1, ..perfect() };
    let Some([a, b]) = link(&lossy, &perfect()) else { return };
    let listener = listen(&b);
    // The neighbours find each other first; on this link that may take more than one try.
    assert!((0..10).any(|_| pings(&b, "10.0.0.1")));
    send(&a, "10.0.0.2:4000", 3000, 100, Duration::from_micros(100));
    let passed = numbers(&listener).len();
    // 2,700 and six standard deviations.
    assert!((2600..=2800).contains(&passed), "{passed}");
    let current = impair::read(&a, "eth1").unwrap();
    assert!(current.drops as usize >= 3000 - passed, "{current:?}");
}

#[test]
fn t66_queues_in_packets_and_bytes_with_netem_above() {
    let mut shaped =
        Impairment { rate_bps: Some(1_000_000), queue: Some(Queue::Packets(10)), ..perfect() };
    let Some([a, b]) = link(&shaped, &perfect()) else { return };
    for queue in [Queue::Packets(10), Queue::Bytes(15_140), Queue::Packets(10)] {
        shaped.queue = Some(queue);
        impair::apply(&a, "eth1", &shaped, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert!(current.matches(&shaped), "{current:?}");
        bursts_through_a_queue_of_ten(&a, &b);
    }
}

#[test]
fn t68_changing_the_rate_keeps_the_rest_and_loses_nothing() {
    let mut shaped = Impairment {
        rate_bps: Some(2_000_000),
        delay_us: 30_000,
        queue: Some(Queue::Packets(500)),
        ..perfect()
    };
    let Some([a, b]) = link(&shaped, &delay(5_000)) else { return };
    let before = netem(&a);
    assert!(pings(&a, "10.0.0.2"));
    let listener = listen(&b);
    let sender = {
        let a = a.clone();
        std::thread::spawn(move || {
            send(&a, "10.0.0.2:4000", 200, 1000, Duration::from_millis(2));
        })
    };
    for rate_bps in [Some(3_000_000), None, Some(9_000_000), Some(4_000_000)] {
        std::thread::sleep(Duration::from_millis(60));
        shaped.rate_bps = rate_bps;
        impair::apply(&a, "eth1", &shaped, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert!(current.matches(&shaped), "{shaped:?} {current:?}");
        assert_eq!(current.impairment.delay_us, 30_000);
    }
    sender.join().unwrap();
    // None is lost; frames of a queue that is taken away may pass those behind them.
    let mut arrived: Vec<u32> = (0..200).map_while(|_| number(&listener)).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..200).collect::<Vec<_>>());
    let after = netem(&a);
    assert_eq!(before["handle"], after["handle"]);
    assert_eq!(after["drops"], 0);
    assert!(after["packets"].as_u64().unwrap() >= 200, "counters stay");
    assert!(impair::read(&b, "eth1").unwrap().matches(&delay(5_000)), "the other direction");
}

#[test]
fn t69_the_declared_values_come_back_after_any_changes() {
    let declared = Impairment {
        rate_bps: Some(10_000_000),
        delay_us: 12_345,
        jitter_us: 1_000,
        distribution: Distribution::Normal,
        loss: 0.001,
        ..perfect()
    };
    let Some([a, _b]) = link(&declared, &perfect()) else { return };
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..10 {
        let delay_us = random(50_000);
        let changed = Impairment {
            rate_bps: (random(3) > 0).then(|| 8_000 * (1 + random(100_000))),
            delay_us,
            jitter_us: random(delay_us + 1),
            distribution: [Distribution::Uniform, Distribution::Normal][random(2) as usize],
            delay_correlation: random(2) as f64 / 4.0,
            loss: random(100) as f64 / 1000.0,
            loss_correlation: random(2) as f64 / 3.0,
            duplicate: random(10) as f64 / 100.0,
            reorder: random(10) as f64 / 100.0,
            corrupt: random(10) as f64 / 100.0,
            reorder_correlation: random(2) as f64 / 5.0,
            corrupt_correlation: random(2) as f64 / 6.0,
            duplicate_correlation: random(2) as f64 / 7.0,
            queue: [None, Some(Queue::Packets(30)), Some(Queue::Bytes(50_000))][random(3) as usize],
            ..perfect()
        };
        impair::apply(&a, "eth1", &changed, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert!(current.matches(&changed), "{changed:?} {current:?}");
    }
    impair::apply(&a, "eth1", &declared, &CONTEXT).unwrap();
    let current = impair::read(&a, "eth1").unwrap();
    assert!(current.matches(&declared), "{current:?}");
    // `tc` rounds its figures down.
    let seen = netem(&a)["options"]["delay"]["delay"].as_f64().unwrap();
    assert!((seen - 0.012_345).abs() < 0.000_001_5, "{seen}");
    impair::apply(&a, "eth1", &perfect(), &CONTEXT).unwrap();
    assert!(impair::read(&a, "eth1").unwrap().matches(&perfect()));
    assert!(pings(&a, "10.0.0.2"));
}

#[test]
fn t74_large_writes_are_lost_by_frame_and_not_by_the_write() {
    let lossy = Impairment { loss: 0.02, ..perfect() };
    let Some([a, b]) = link(&lossy, &perfect()) else { return };
    assert!((0..5).any(|_| pings(&a, "10.0.0.2")));
    let listener = b.run(|| TcpListener::bind("10.0.0.2:4000").unwrap()).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
    });
    const TOTAL: usize = 4 << 20;
    a.run(|| {
        let mut stream = TcpStream::connect("10.0.0.2:4000").unwrap();
        for _ in 0..TOTAL >> 16 {
            std::io::Write::write_all(&mut stream, &[7; 1 << 16]).unwrap();
        }
    })
    .unwrap();
    assert_eq!(reader.join().unwrap() as usize, TOTAL);
    let current = impair::read(&a, "eth1").unwrap();
    let frames = TOTAL as u64 / 1448;
    assert!(current.packets >= frames, "{current:?}");
    assert!(current.bytes / current.packets <= 1514, "{current:?}");
    // 2 % of at least 2,896 frames are 58: a loss of super-frames would show as two or three.
    assert!(current.drops >= 20, "{current:?}");
}

#[test]
fn t75_a_refusal_names_link_end_and_parameter_and_leaves_no_link() {
    let Some([a, _b]) = link(&perfect(), &perfect()) else { return };
    let host = common::host().unwrap();
    let bad = Impairment { duplicate: -0.5, ..perfect() };
    let mut pair = PairSpec {
        link: "a -- c",
        a: inside(&a, "eth2", &[]),
        b: inside(host.ns(), "eth3", &[]),
        mtu: None,
    };
    pair.b.impairment = Some(&bad);
    let error = host.link_pair(&pair).unwrap_err();
    assert_eq!(
        error.to_string(),
        "link `a -- c`, end `eth3`: cannot set duplicate: -0.5 is not between 0 and 1"
    );
    assert!(!a.has_interface("eth2").unwrap());
    let without = Features { netem: false, ..host.features().unwrap() };
    let refused = impair::check(&without, &Impairment { corrupt: 0.1, ..perfect() }, &CONTEXT);
    assert!(matches!(refused, Err(Error::Impairment { parameter, .. }) if parameter == "corrupt"));
}

#[test]
fn t67_a_change_while_a_link_is_down_holds_when_it_is_up() {
    let Some([a, b]) = link(&delay(1_000), &delay(1_000)) else { return };
    block(&a, "eth1", Way::In).unwrap();
    block(&b, "eth1", Way::In).unwrap();
    assert!(!pings(&a, "10.0.0.2"));
    impair::apply(&a, "eth1", &delay(40_000), &CONTEXT).unwrap();
    unblock(&a, "eth1", Way::In).unwrap();
    unblock(&b, "eth1", Way::In).unwrap();
    common::eventually("the link", || pings(&a, "10.0.0.2"));
    assert!(round_trip(&a, "10.0.0.2") >= 41.0);
}

#[test]
fn t78_drift_of_netem_is_seen_and_mended() {
    let declared = Impairment { rate_bps: Some(5_000_000), ..delay(10_000) };
    let Some([a, _b]) = link(&declared, &perfect()) else { return };
    for by_hand in [
        "tc qdisc change dev eth1 root netem delay 11ms",
        "tc qdisc change dev eth1 root netem delay 10ms loss gemodel 1% 10%",
        "tc qdisc del dev eth1 parent 1:1",
        "tc qdisc replace dev eth1 parent 1:1 handle 7: tbf rate 1mbit burst 5kb limit 30kb",
        "tc qdisc del dev eth1 root",
        "tc qdisc replace dev eth1 root handle 5: netem delay 10ms",
    ] {
        run(&a, by_hand);
        assert!(!impair::read(&a, "eth1").unwrap().matches(&declared), "{by_hand}");
        impair::apply(&a, "eth1", &declared, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert!(current.matches(&declared), "{by_hand}: {current:?}");
        assert!(pings(&a, "10.0.0.2"), "{by_hand}");
    }
}

#[test]
fn an_unshaped_link_takes_a_shaper_while_it_is_in_use() {
    let Some([a, _b]) = link(&perfect(), &perfect()) else { return };
    assert!(json(&a, "tc -j qdisc show dev eth1")[0]["kind"] != "netem");
    let all = Impairment {
        jitter_us: 2_000,
        distribution: Distribution::Normal,
        duplicate: 0.5,
        reorder: 0.25,
        corrupt: 0.125,
        ..delay(10_000)
    };
    impair::apply(&a, "eth1", &all, &CONTEXT).unwrap();
    let options = &netem(&a)["options"];
    assert_eq!(options["duplicate"]["duplicate"], 0.5);
    assert_eq!(options["reorder"]["reorder"], 0.25);
    assert_eq!(options["corrupt"]["corrupt"], 0.125);
    assert_eq!(options["gap"], 1);
    assert_eq!(options["delay"]["jitter"], 0.002);
}
