//! Losses in bursts and managed queues (R-11), held against what Debian's `tc` sees. Where the kernel lacks them the tests
//! say so, or see them refused; they run in the guest too.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::time::Duration;

use common::{inside, json, listen, nets, numbers, pings, run, send};
use vnode_network::impair::{self, Context};
use vnode_network::{Error, Ns, PairSpec};
use vnode_protocol::impairment::{Aqm, Impairment, LossModel, Queue};

const CONTEXT: Context<'static> = Context { link: "a -- b", end: "a:eth1" };

/// Two nodes, 10.0.0.1 and .2; the first sends through `impairment`.
fn link(impairment: &Impairment) -> Option<[Ns; 2]> {
    let host = common::host()?;
    let [a, b] = [Ns::create().unwrap(), Ns::create().unwrap()];
    let (left, right) = (nets(&["10.0.0.1/24"]), nets(&["10.0.0.2/24"]));
    let mut pair = PairSpec {
        link: "a -- b",
        a: inside(&a, "eth1", &left),
        b: inside(&b, "eth1", &right),
        mtu: None,
    };
    pair.a.impairment = Some(impairment);
    host.link_pair(&pair).unwrap();
    Some([a, b])
}

fn managed(aqm: Aqm) -> Impairment {
    Impairment {
        rate_bps: Some(2_000_000),
        queue: Some(Queue::Packets(60)),
        aqm: Some(aqm),
        ..Impairment::default()
    }
}

fn bursts(p: f64, r: f64, loss_in_bad: f64, loss_in_good: f64) -> Impairment {
    let model = LossModel { p, r, loss_in_bad, loss_in_good };
    Impairment { loss_model: Some(model), ..Impairment::default() }
}

/// The discipline of a kind as `tc` shows it.
fn discipline(ns: &Ns, kind: &str) -> serde_json::Value {
    let seen = json(ns, "tc -j -s qdisc show dev eth1");
    let found = seen.as_array().unwrap().iter().find(|one| one["kind"] == kind).cloned();
    found.unwrap_or_else(|| panic!("no {kind} in {seen}"))
}

#[test]
fn t75_a_managed_queue_the_kernel_lacks_is_refused_by_link_end_and_parameter() {
    let Some([a, b]) = link(&Impairment::default()) else { return };
    for aqm in Aqm::ALL {
        if impair::has_aqm(aqm).unwrap() {
            continue;
        }
        let error = impair::apply(&a, "eth1", &managed(aqm), &CONTEXT).unwrap_err();
        assert!(matches!(&error, Error::Impairment { parameter, .. } if parameter == "aqm"));
        let text = error.to_string();
        assert!(text.starts_with("link `a -- b`, end `a:eth1`: cannot set aqm: "), "{text}");
        assert!(impair::read(&a, "eth1").unwrap().matches(&Impairment::default()));
    }
    assert!(pings(&b, "10.0.0.1"));
}

#[test]
fn managed_queues_stand_before_the_bottleneck_and_change_in_place() {
    let Some([a, b]) = link(&Impairment { rate_bps: Some(1_000_000), ..Impairment::default() })
    else {
        return;
    };
    for aqm in Aqm::ALL {
        if !impair::has_aqm(aqm).unwrap() {
            println!("skipped: no {}", aqm.name());
            continue;
        }
        let mut shaped = managed(aqm);
        impair::apply(&a, "eth1", &shaped, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        // Red counts bytes, and says so.
        assert!(current.matches(&shaped), "{current:?}");
        assert_eq!(current.impairment.aqm, Some(aqm));
        let kind = aqm.name().replace('-', "_");
        let before = discipline(&a, &kind);
        assert_eq!(before["parent"], "2:1");
        assert!(pings(&b, "10.0.0.1") && pings(&a, "10.0.0.2"));
        // Far more than the queue holds is sent: something is dropped, something passes.
        let listener = listen(&b);
        send(&a, "10.0.0.2:4000", 400, 1200, Duration::ZERO);
        let passed = numbers(&listener).len();
        assert!((1..400).contains(&passed), "{passed} through {kind}");
        let counted = discipline(&a, &kind)["packets"].as_u64().unwrap();
        shaped.rate_bps = Some(3_000_000);
        shaped.queue = Some(Queue::Packets(90));
        impair::apply(&a, "eth1", &shaped, &CONTEXT).unwrap();
        assert!(impair::read(&a, "eth1").unwrap().matches(&shaped));
        assert!(discipline(&a, &kind)["packets"].as_u64().unwrap() >= counted, "counters stay");
        run(&a, "tc qdisc replace dev eth1 parent 2:1 handle 9: pfifo limit 5");
        assert!(!impair::read(&a, "eth1").unwrap().matches(&shaped), "drift is seen");
        impair::apply(&a, "eth1", &shaped, &CONTEXT).unwrap();
        assert!(impair::read(&a, "eth1").unwrap().matches(&shaped), "drift is mended");
    }
    let plain = Impairment { aqm: None, ..managed(Aqm::Pie) };
    impair::apply(&a, "eth1", &plain, &CONTEXT).unwrap();
    assert!(impair::read(&a, "eth1").unwrap().matches(&plain));
    assert_eq!(discipline(&a, "pfifo")["options"]["limit"], 60);
}

#[test]
fn r11_losses_come_in_bursts_of_the_models_length() {
    if !vnode_network::Features::get().is_ok_and(|features| features.netem) {
        println!("skipped: no netem");
        return;
    }
    // Bad for ten frames of 110 in the mean, and nothing passes then.
    let shaped = bursts(0.01, 0.1, 1.0, 0.0);
    let Some([a, b]) = link(&shaped) else { return };
    let seen = discipline(&a, "netem");
    let model = &seen["options"]["loss-gemodel"];
    let seen = |key: &str| model[key].as_f64().unwrap();
    assert!((seen("p") - 0.01).abs() < 1e-6 && (seen("r") - 0.1).abs() < 1e-6, "{model}");
    assert!((seen("1-h") - 1.0).abs() < 1e-6 && seen("1-k") == 0.0, "{model}");
    let listener = listen(&b);
    assert!((0..20).any(|_| pings(&b, "10.0.0.1")));
    const SENT: usize = 20_000;
    send(&a, "10.0.0.2:4000", SENT as u32, 100, Duration::from_micros(20));
    let arrived = numbers(&listener);
    let gaps: Vec<u32> = arrived.windows(2).map(|two| two[1] - two[0] - 1).collect();
    let gaps: Vec<u32> = gaps.into_iter().filter(|gap| *gap > 0).collect();
    let lost = SENT - arrived.len();
    // A eleventh is lost, about 1,818, in about 180 bursts of about ten frames each; six deviations of a burst process.
    assert!((900..=2_900).contains(&lost), "{lost}");
    let mean = lost as f64 / gaps.len() as f64;
    assert!((6.0..=15.0).contains(&mean), "{mean} frames in a burst");

    // One model takes the place of the other, and of an independent loss.
    for next in [
        bursts(0.2, 0.3, 0.4, 0.05),
        Impairment { loss: 0.25, loss_correlation: 0.5, ..Impairment::default() },
        bursts(0.0, 1.0, 1.0, 0.0),
    ] {
        impair::apply(&a, "eth1", &next, &CONTEXT).unwrap();
        let current = impair::read(&a, "eth1").unwrap();
        assert!(current.matches(&next), "{current:?}");
    }
    assert!(pings(&a, "10.0.0.2"), "a model that never goes bad loses nothing");
}
