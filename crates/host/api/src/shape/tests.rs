//! Each description is held against what serde writes of the real thing.

use std::collections::BTreeMap;

use utoipa::{PartialSchema, ToSchema};
use vnode_lifecycle::{request, view};
use vnode_protocol::impairment::{
    Aqm, Impairment as RealImpairment, LossModel as RealLossModel, Queue,
};

use super::*;

/// Compares names of fields: those described with those written, all options being there.
fn same_fields<Described: ToSchema>(real: &impl serde::Serialize) {
    let described = serde_json::to_value(<Described as PartialSchema>::schema()).unwrap();
    let described: Vec<_> = described["properties"].as_object().unwrap().keys().cloned().collect();
    let real = serde_json::to_value(real).unwrap();
    let real: Vec<_> = real.as_object().unwrap().keys().cloned().collect();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(described), sorted(real), "{}", Described::name());
}

fn impairment() -> RealImpairment {
    RealImpairment {
        rate_bps: Some(1),
        queue: Some(Queue::Packets(1)),
        loss_model: Some(loss_model()),
        aqm: Some(Aqm::Red),
        ..RealImpairment::default()
    }
}

fn loss_model() -> RealLossModel {
    RealLossModel { p: 0.0, r: 1.0, loss_in_bad: 1.0, loss_in_good: 0.0 }
}

fn end() -> view::EndView {
    view::EndView {
        node: String::new(),
        interface: String::new(),
        mac: String::new(),
        addresses: vec![],
        declared: impairment(),
        current: impairment(),
        inbound: Some(impairment()),
        down: false,
        drift: false,
    }
}

fn node() -> view::NodeView {
    view::NodeView {
        lab: String::new(),
        node: String::new(),
        vmid: 1,
        kind: String::new(),
        driver: String::new(),
        image: String::new(),
        state: vnode_lifecycle::state::State::Running,
        health: String::new(),
        ipv4: None,
        ipv6: None,
        pid: None,
        restarts: 0,
        since: String::new(),
        last_exit: None,
        reason: None,
        labels: BTreeMap::new(),
    }
}

#[test]
fn views_are_described_as_they_are() {
    same_fields::<Impairment>(&impairment());
    same_fields::<LossModel>(&loss_model());
    same_fields::<EndView>(&end());
    same_fields::<LinkView>(&view::LinkView {
        lab: String::new(),
        link: String::new(),
        kind: String::new(),
        down: false,
        ends: vec![],
    });
    same_fields::<NodeView>(&node());
    same_fields::<SnapshotView>(&view::SnapshotView {
        name: String::new(),
        created: String::new(),
        bytes: 0,
    });
    same_fields::<StatsView>(&view::StatsView { cpu_usec: None, memory_bytes: None, pids: None });
    same_fields::<LabView>(&view::LabView {
        name: String::new(),
        state: String::new(),
        nodes: vec![],
        links: vec![],
        control_ipv4: None,
        control_ipv6: None,
        file: None,
        created: String::new(),
    });
    same_fields::<TimelineView>(&view::TimelineView {
        lab: String::new(),
        state: String::new(),
        clock_us: 0,
        events: vec![],
    });
    same_fields::<TimelineEntry>(&view::TimelineEntry {
        at_us: 0,
        link: String::new(),
        end: None,
        action: String::new(),
        set: vec![],
        happened: false,
    });
    same_fields::<ChangeView>(&view::ChangeView {
        change: String::new(),
        subject: String::new(),
        because: String::new(),
    });
    same_fields::<Check>(&view::Check {
        name: String::new(),
        verdict: String::new(),
        found: String::new(),
        mend: String::new(),
    });
    same_fields::<Cleaned>(&view::Cleaned::default());
}

#[test]
fn requests_are_described_as_they_are() {
    same_fields::<Create>(&request::Create {
        node: String::new(),
        lab: None,
        image: None,
        command: vec![],
        env: BTreeMap::new(),
        privileged: false,
        boot: false,
    });
    same_fields::<Exec>(&request::Exec { attach: Some(String::new()), ..request::Exec::default() });
    same_fields::<LinkSet>(&request::LinkSet::default());
}

#[test]
fn every_state_is_described() {
    let described = serde_json::to_value(<State as PartialSchema>::schema()).unwrap();
    use vnode_lifecycle::state::State as Real;
    for state in [
        Real::Absent,
        Real::Creating,
        Real::Stopped,
        Real::Mounted,
        Real::Booting,
        Real::Running,
        Real::Paused,
        Real::Halting,
        Real::Failed,
        Real::Destroying,
        Real::Unknown,
    ] {
        let word = serde_json::to_value(state).unwrap();
        assert!(described["enum"].as_array().unwrap().contains(&word), "{word}");
    }
}
