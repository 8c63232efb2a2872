//! T-100: a lab that is written and read back is the same lab, whole, and but for our additions in
//! containerlab's words. And: nothing that is fed to the parser makes it panic.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use support::{read, texts};
use vnode_protocol::impairment::{Aqm, Distribution, Impairment, LossModel, Queue};
use vnode_topology::*;

/// Any text that a value may be.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 ./:=_-]{1,20}".prop_map(|s| s),
        "[^\\x00]{1,12}",
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("$HOME ${X:-y}".to_owned()),
        Just("- # x: 'y' \"z\" \\ \u{7}\u{2028}\u{feff}\r\n\tend ".to_owned()),
    ]
    // Words that stand for something else are replaced when the file is read.
    .prop_filter("no magic words", |text| !text.contains("__") && !text.is_empty())
}

fn words() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[A-Za-z_][A-Za-z0-9_.]{0,8}", any_text(), 0..4).prop_map(|mut map| {
        map.retain(|key, _| !key.starts_with("__"));
        map
    })
}

fn impairment() -> impl Strategy<Value = Impairment> {
    let ratio = || prop_oneof![Just(0.0), Just(0.001), 0.0..1.0f64];
    let queue = of(prop_oneof![
        (1..100_000u32).prop_map(Queue::Packets),
        (1..1_000_000u64).prop_map(Queue::Bytes)
    ]);
    (
        of(8..10_000_000_000u64),
        0..10_000_000u64,
        0..100_000u64,
        any::<bool>(),
        ratio(),
        ratio(),
        queue,
        of(select(Aqm::ALL.to_vec())),
        of((ratio(), ratio(), ratio(), ratio())),
    )
        .prop_map(|(rate_bps, delay_us, jitter_us, normal, loss, other, queue, aqm, model)| {
            Impairment {
                rate_bps,
                delay_us,
                jitter_us,
                distribution: if normal && jitter_us > 0 {
                    Distribution::Normal
                } else {
                    Distribution::Uniform
                },
                delay_correlation: if jitter_us > 1 { other } else { 0.0 },
                loss: if model.is_some() { 0.0 } else { loss },
                loss_correlation: if model.is_none() && loss > 1e-6 { other } else { 0.0 },
                loss_model: model.map(|(p, r, loss_in_bad, loss_in_good)| LossModel {
                    p,
                    r,
                    loss_in_bad,
                    loss_in_good,
                }),
                duplicate: other / 2.0,
                duplicate_correlation: if other > 1e-6 { loss } else { 0.0 },
                reorder: if delay_us > 1 { other } else { 0.0 },
                reorder_correlation: if delay_us > 1 && other > 1e-6 { loss } else { 0.0 },
                corrupt: other / 3.0,
                corrupt_correlation: if other > 1e-6 { loss } else { 0.0 },
                queue,
                aqm: aqm.filter(|_| rate_bps.is_some()),
            }
        })
}

fn maybe_impaired() -> impl Strategy<Value = Impairment> {
    prop_oneof![Just(Impairment::default()), impairment()]
}

fn path() -> impl Strategy<Value = PathBuf> {
    "(/[a-z0-9._ -]{1,6}){1,3}".prop_map(PathBuf::from).prop_filter("clean", |path| {
        path.components().all(|c| c.as_os_str() != "..") && clean(path)
    })
}

fn clean(path: &Path) -> bool {
    path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
        && !path.to_string_lossy().contains("__")
}

fn binds() -> impl Strategy<Value = Vec<Bind>> {
    let volume = "[a-z][a-z0-9]{0,5}";
    let bind = (of(path()), path(), any::<bool>(), of(volume)).prop_map(
        |(source, destination, ro, volume)| {
            let volume = if source.is_some() { None } else { volume };
            let has_source = source.is_some() || volume.is_some();
            Bind {
                source: source.map(|path| {
                    if ro {
                        Path::new("/labs/one").join(path.strip_prefix("/").unwrap())
                    } else {
                        path
                    }
                }),
                destination,
                read_only: ro && has_source,
                options: if has_source && ro { vec!["z".to_owned()] } else { vec![] },
                volume,
            }
        },
    );
    vec(bind, 0..4).prop_map(|mut binds| {
        binds.sort_by_key(|bind| bind.volume.is_some());
        let mut seen = std::collections::BTreeSet::new();
        binds.retain(|bind| seen.insert(bind.destination.clone()));
        binds
    })
}

prop_compose! {
    fn node_files()(
        image in prop_oneof![Just("host".to_owned()), "[a-z]{1,8}(:[a-z0-9.]{1,5})?"],
        exec in vec(any_text(), 0..3),
        binds in binds(),
        env in words(),
        labels in words(),
        sysctls in words(),
        cmd in of(any_text()),
        entrypoint in of(any_text()),
        user in of("[a-z0-9:]{1,8}"),
        hostname in of("[a-z][a-z0-9-]{0,8}"),
        group in of("[a-z]{1,5}"),
    ) -> Node {
        Node { image: Some(image), exec, binds, env, labels, sysctls, cmd, entrypoint, user, hostname, group, ..Node::default() }
    }
}

prop_compose! {
    fn node_limits()(
        base in node_files(),
        pull in prop_oneof![Just(ImagePullPolicy::IfNotPresent), Just(ImagePullPolicy::Never), Just(ImagePullPolicy::Always)],
        restart in prop_oneof![Just(RestartPolicy::No), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Always), Just(RestartPolicy::UnlessStopped)],
        cpu in of(0.01..64.0f64),
        memory in of(1..1u64 << 40),
        pids in of(1..100_000u64),
        weight in of(1..10_000u32),
        shm in of(1..1u64 << 30),
        flags in any::<[bool; 4]>(),
        delay in 0..100u32,
        health in of((vec("[a-z]{1,4}", 1..3), any::<bool>(), 1..9u32)),
        preconfig in vec((any_text().prop_filter("a command", |t| !t.trim().is_empty()), any::<bool>()), 0..3),
    ) -> Node {
        let healthcheck = health.map(|(words, shell, retries)| Health {
            test: if shell { HealthTest::Shell(words.join(" ")) } else { HealthTest::Command(words) },
            start_period_s: 0, interval_s: retries, timeout_s: 30, retries,
        });
        Node {
            image_pull_policy: pull,
            restart_policy: restart,
            resources: Resources { cpu, memory_bytes: memory, pids, cpu_weight: weight, swap_bytes: shm, cpu_set: flags[0].then(|| "0-1,3".into()), ..Resources::default() },
            shm_size_bytes: shm,
            preconfig: preconfig.into_iter().map(|(command, required)| Preconfig { command, required }).collect(),
            placement: flags[0].then(|| "host-1.example.org".into()),
            privileged: flags[1],
            auto_remove: flags[2],
            startup_delay_s: delay,
            boot_timeout_s: pids.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit <= 86_400),
            healthcheck,
            cap_add: if flags[3] { vec!["NET_ADMIN".into(), "SYS_TIME".into()] } else { vec![] },
            cgroupns_mode: flags[3].then(|| "private".into()),
            pid_mode: flags[2].then_some(PidMode::Host),
            tmpfs: if flags[0] { vec!["/run:size=1m".into()] } else { vec![] },
            backend: flags[1].then(|| "container".into()),
            dns: Dns { servers: if flags[2] { vec![IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9))] } else { vec![] }, search: vec![], options: if flags[1] { vec!["rotate".into()] } else { vec![] } },
            devices: if flags[1] { vec![Device { host: "/dev/net/tun".into(), node: "/dev/tun".into(), permissions: "rw".into() }] } else { vec![] },
            ..base
        }
    }
}

/// Ends of links and members are numbered, so that no interface is used twice.
fn lab() -> impl Strategy<Value = Lab> {
    let nodes = vec(node_limits(), 2..6);
    let links = vec(
        (
            any::<[u8; 2]>(),
            0..8u8,
            maybe_impaired(),
            maybe_impaired(),
            68..9501u32,
            any::<[bool; 3]>(),
        ),
        0..8,
    );
    let networks = vec(
        (vec((any::<u8>(), of(impairment()), any::<bool>()), 1..5), maybe_impaired(), 68..9501u32),
        0..3,
    );
    let events =
        vec((0..10_000_000_000u64, any::<u8>(), 0..4u8, impairment(), any::<[bool; 2]>()), 0..4);
    let prefix = of(prop_oneof![Just(String::new()), Just("__lab-name".to_owned()), "[a-z]{1,6}"]);
    ("[a-z0-9][a-z0-9._-]{0,8}", prefix, nodes, links, networks, events).prop_map(
        |(name, prefix, nodes, links, networks, events)| {
            let mut lab = Lab { name, prefix, folder: "/labs/one".into(), nodes, ..Lab::default() };
            let count = lab.nodes.len();
            for (at, node) in lab.nodes.iter_mut().enumerate() {
                node.name = format!("n{at}");
                node.mgmt_ipv4 = (at % 2 == 0).then(|| Ipv4Addr::new(172, 20, 20, 10 + at as u8));
                node.ports = vec![Port {
                    address: (at % 3 == 0).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    host: 8000 + at as u16,
                    node: 80,
                    protocol: if at % 2 == 0 { PortProtocol::Udp } else { PortProtocol::Tcp },
                }];
                if at > 0 {
                    let stage = Stage {
                        wait_for: vec![WaitFor {
                            node: format!("n{}", at - 1),
                            stage: StageName::Healthy,
                        }],
                        exec: vec![StageExec {
                            command: "date".into(),
                            target: StageExecTarget::Host,
                            phase: Phase::OnExit,
                        }],
                    };
                    node.stages.insert(StageName::Create, stage);
                }
            }
            if count > 2 {
                lab.nodes[2].network_mode = NetworkMode::Node("n0".into());
                lab.nodes[2].mgmt_ipv4 = None;
            }
            for (at, (ends, kind, first, second, mtu, flags)) in links.into_iter().enumerate() {
                lab.links.push(link(at, ends, kind, first, second, mtu, flags, count));
            }
            for (at, (members, impair, mtu)) in networks.into_iter().enumerate() {
                lab.networks.push(network(at, members, impair, mtu, count));
            }
            for (at_us, which, kind, impair, flags) in events {
                if let Some(event) = event(&lab, at_us, which, kind, &impair, flags) {
                    lab.events.push(event);
                }
            }
            lab.events.sort_by_key(|event| event.at_us);
            lab
        },
    )
}

#[allow(clippy::too_many_arguments, reason = "one random link")]
fn link(
    at: usize,
    ends: [u8; 2],
    kind: u8,
    first: Impairment,
    second: Impairment,
    mtu: u32,
    flags: [bool; 3],
    count: usize,
) -> Link {
    let end = |side: usize, impair: Impairment| Endpoint {
        node: format!("n{}", usize::from(ends[side]) % count),
        interface: format!("eth{at}-{side}"),
        mac: flags[0].then_some(Mac([2, 0, 0, 0, at as u8, side as u8])),
        ipv4: flags[1].then(|| format!("10.0.{at}.{}/24", side + 1).parse().unwrap()),
        ipv6: flags[2].then(|| format!("fd00::{at}:{}/64", side + 1).parse().unwrap()),
        impair,
        vars: if flags[0] {
            BTreeMap::from([("v".to_owned(), serde_json::json!({"a": [1, "1", true, null]}))])
        } else {
            BTreeMap::new()
        },
        span: Span::default(),
    };
    let interface = format!("h{at}");
    let far = match kind {
        0 | 1 => Far::Node { endpoint: end(1, second), stitch: kind == 1 },
        2 => Far::Host { interface, impair: second },
        3 => Far::Management { interface, impair: second },
        4 => Far::Macvlan { interface, mode: MacvlanMode::Vepa },
        5 | 6 => Far::Vxlan {
            remote: "192.0.2.1".into(),
            vni: 1 + at as u32,
            dst_port: 4789,
            src_port: flags[0].then_some(5),
            stitch: kind == 6,
        },
        _ => Far::Dummy,
    };
    let mut link = Link {
        id: String::new(),
        near: end(0, first),
        far,
        mtu,
        labels: BTreeMap::new(),
        vars: BTreeMap::new(),
        span: Span::default(),
    };
    if flags[2] {
        link.labels.insert("l".into(), "x: y".into());
        link.vars.insert("n".into(), serde_json::json!(-7));
    }
    link.id = format!("{}--{}", link.near.name(), link.far_name());
    link
}

fn network(
    at: usize,
    members: Vec<(u8, Option<Impairment>, bool)>,
    impair: Impairment,
    mtu: u32,
    count: usize,
) -> Network {
    let (to, from) = impair.halves();
    let two = members.len() == 2;
    let members = members.into_iter().enumerate().map(|(place, (node, own, flag))| Member {
        node: format!("n{}", usize::from(node) % count),
        interface: format!("lan{at}-{place}"),
        mac: None,
        ipv4: flag.then(|| format!("10.9.{at}.{}/24", place + 1).parse().unwrap()),
        ipv6: None,
        to_lan: match (&own, two) {
            (Some(own), _) => own.clone(),
            (None, true) => impair.clone(),
            (None, false) => to.clone(),
        },
        from_lan: match (own, two) {
            (_, true) => Impairment::default(),
            (Some(own), false) if flag => own,
            _ => from.clone(),
        },
        span: Span::default(),
    });
    Network {
        name: format!("lan{at}"),
        members: members.collect(),
        mtu,
        impair,
        span: Span::default(),
    }
}

fn event(
    lab: &Lab,
    at_us: u64,
    which: u8,
    kind: u8,
    impair: &Impairment,
    flags: [bool; 2],
) -> Option<TimelineEvent> {
    let which = usize::from(which);
    let target = if flags[0] && !lab.links.is_empty() {
        let link = &lab.links[which % lab.links.len()];
        Target::Link { id: link.id.clone(), end: flags[1].then(|| link.near.name()) }
    } else {
        let network = lab.networks.get(which % lab.networks.len().max(1))?;
        Target::Network {
            name: network.name.clone(),
            member: flags[1].then(|| network.members[0].name()),
        }
    };
    // One direction of what leads elsewhere cannot be cut.
    let elsewhere = |id: &str| {
        let far = lab.links.iter().find(|link| link.id == id).map(|link| &link.far);
        matches!(far, Some(Far::Vxlan { .. } | Far::Macvlan { .. } | Far::Dummy))
    };
    let target = match target {
        Target::Link { id, end: Some(_) } if kind < 2 && elsewhere(&id) => {
            Target::Link { id, end: None }
        }
        target => target,
    };
    let pairs: Vec<_> =
        impair.pairs().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let (action, set) = match kind {
        0 => (Action::Down, vec![]),
        1 => (Action::Up, pairs),
        2 => (
            Action::Set,
            if pairs.is_empty() { vec![("delay".to_owned(), "1ms".to_owned())] } else { pairs },
        ),
        _ => (Action::Reset, vec![]),
    };
    Some(TimelineEvent { at_us, target, action, set, span: Span::default() })
}

/// The lab without what containerlab has no word for.
fn plain(mut lab: Lab) -> Lab {
    lab.networks.clear();
    lab.events.clear();
    for node in &mut lab.nodes {
        node.backend = None;
        node.preconfig.clear();
        node.placement = None;
        node.boot_timeout_s = None;
        node.resources.pids = None;
        node.resources.cpu_weight = None;
        node.resources.swap_bytes = None;
        node.resources.memory_high_bytes = None;
    }
    for link in &mut lab.links {
        link.near.impair = Impairment::default();
        match &mut link.far {
            Far::Node { endpoint, .. } => endpoint.impair = Impairment::default(),
            Far::Host { impair, .. } | Far::Management { impair, .. } => {
                *impair = Impairment::default()
            }
            _ => {}
        }
    }
    lab
}

fn read_back(text: &str) -> Lab {
    match read(text) {
        Ok(parsed) => parsed.lab,
        Err(rejected) => panic!("{rejected}\n---\n{text}"),
    }
}

/// Only keys that containerlab defines, wherever they stand.
fn assert_strict(text: &str) {
    for ours in ["impair", "networks", "events", "resources", "backend"] {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(!line.trim_start().starts_with(&format!("{ours}:")), "{line}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t100_export_and_import_give_the_same_lab(lab in lab()) {
        let text = export(&lab);
        prop_assert_eq!(&read_back(&text), &lab, "\n{}", text);
    }

    #[test]
    fn t100_strict_export_and_import_give_the_same_lab_without_our_additions(lab in lab()) {
        let text = export_clab(&lab);
        assert_strict(&text);
        prop_assert_eq!(&read_back(&text), &plain(lab.clone()), "\n{}", text);
    }

    #[test]
    fn the_stored_form_is_whole(lab in lab()) {
        let json = serde_json::to_string(&lab).unwrap();
        let back: Lab = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back, lab);
    }

    #[test]
    fn no_text_panics(text in "[^\\x00]{0,300}") {
        let _ = read(&text).map(|parsed| texts(&parsed.warnings));
    }

    #[test]
    fn no_yaml_panics(lines in vec("[ ]{0,8}(- )?(name|topology|nodes|links|mgmt|kind|endpoints|<<|a|b|impair|networks|events|stages|at|set)?(: )?(\\{|\\[|\\}|\\]|&a|\\*a|\\$\\{A|\\$B|\"a:eth1\"|x|1|~|\\||>|#)?.{0,3}", 0..25)) {
        let _ = read(&lines.join("\n")).map(|parsed| texts(&parsed.warnings));
    }

    #[test]
    fn no_change_of_a_good_file_panics(lab in lab(), at in any::<prop::sample::Index>(), with in "[^\\x00]{0,3}", cut in 0..4usize) {
        let text = export(&lab);
        let from = at.index(text.len());
        let from = (0..=from).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let to = (from + cut..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let changed = format!("{}{with}{}", &text[..from], &text[to..]);
        match read(&changed) {
            // What is taken in any form can be written and read back.
            Ok(parsed) => {
                let whole = export(&parsed.lab);
                prop_assert_eq!(&read_back(&whole), &parsed.lab, "\n{}\n{}", changed, whole);
                read_back(&export_clab(&parsed.lab));
            }
            Err(rejected) => prop_assert!(!rejected.to_string().is_empty()),
        }
    }
}
