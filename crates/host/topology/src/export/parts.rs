//! The smaller parts of an exported file, each written only where it differs from the default.

use std::collections::BTreeMap;

use vnode_protocol::impairment::Impairment;

use super::Map;
use crate::emit::Yaml;
use crate::model::{
    Action, DEFAULT_MTU, HealthTest, Mgmt, Network, Node, Phase, Port, PortProtocol,
    StageExecTarget, Target, TimelineEvent,
};

pub(super) fn put(map: &mut Map, key: &str, value: Yaml) {
    map.push((key.to_owned(), value));
}

pub(super) fn text<T: ToString>(map: &mut Map, key: &str, value: Option<T>) {
    if let Some(value) = value {
        put(map, key, Yaml::text(value.to_string()));
    }
}

pub(super) fn list(map: &mut Map, key: &str, items: &[String]) {
    if !items.is_empty() {
        put(map, key, Yaml::texts(items));
    }
}

pub(super) fn words(map: &mut Map, key: &str, items: &BTreeMap<String, String>) {
    if !items.is_empty() {
        let items = items.iter().map(|(key, value)| (key.clone(), Yaml::text(value)));
        put(map, key, Yaml::Map(items.collect()));
    }
}

pub(super) fn vars(map: &mut Map, items: &BTreeMap<String, serde_json::Value>) {
    if !items.is_empty() {
        let items = items.iter().map(|(key, value)| (key.clone(), Yaml::json(value)));
        put(map, "vars", Yaml::Map(items.collect()));
    }
}

/// What must be said to make `wanted` of `base`.
pub(super) fn impairment(map: &mut Map, key: &str, base: &Impairment, wanted: &Impairment) {
    let (base, wanted) = (base.pairs(), wanted.pairs());
    let mut changes = Map::new();
    for pair in &wanted {
        if !base.contains(pair) {
            put(&mut changes, pair.0, Yaml::text(&pair.1));
        }
    }
    for (name, _) in &base {
        if !wanted.iter().any(|(other, _)| other == name) {
            put(&mut changes, name, Yaml::text("none"));
        }
    }
    if !changes.is_empty() {
        put(map, key, Yaml::Flow(Box::new(Yaml::Map(changes))));
    }
}

pub(super) fn preconfig(map: &mut Map, node: &Node) {
    let items = node.preconfig.iter().map(|one| {
        let mut item = Map::new();
        put(&mut item, "command", Yaml::text(&one.command));
        if one.required {
            put(&mut item, "required", Yaml::bare(true));
        }
        Yaml::Map(item)
    });
    if !node.preconfig.is_empty() {
        put(map, "preconfig", Yaml::List(items.collect()));
    }
}

pub(super) fn mgmt(mgmt: &Mgmt) -> Yaml {
    let mut map = Map::new();
    put(&mut map, "network", Yaml::text(&mgmt.network));
    text(&mut map, "bridge", mgmt.bridge.as_ref());
    let subnet = |auto: bool, net: Option<String>| match (auto, net) {
        (true, _) => "auto".to_owned(),
        (false, net) => net.unwrap_or_default(),
    };
    let v4 = subnet(mgmt.ipv4_auto, mgmt.ipv4_subnet.map(|net| net.to_string()));
    let v6 = subnet(mgmt.ipv6_auto, mgmt.ipv6_subnet.map(|net| net.to_string()));
    put(&mut map, "ipv4-subnet", Yaml::text(v4));
    put(&mut map, "ipv6-subnet", Yaml::text(v6));
    text(&mut map, "ipv4-gw", mgmt.ipv4_gateway);
    text(&mut map, "ipv6-gw", mgmt.ipv6_gateway);
    text(&mut map, "ipv4-range", mgmt.ipv4_range);
    text(&mut map, "ipv6-range", mgmt.ipv6_range);
    if let Some(mtu) = mgmt.mtu {
        put(&mut map, "mtu", Yaml::bare(mtu));
    }
    if !mgmt.external_access {
        put(&mut map, "external-access", Yaml::bare(false));
    }
    if mgmt.skip_when_unused {
        put(&mut map, "skip-when-unused", Yaml::bare(true));
    }
    Yaml::Map(map)
}

pub(super) fn port(port: &Port) -> String {
    let address = match port.address {
        None => String::new(),
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]:"),
        Some(address) => format!("{address}:"),
    };
    let host = match (port.host, address.is_empty()) {
        (0, true) => String::new(),
        (0, false) => ":".to_owned(),
        (host, _) => format!("{host}:"),
    };
    let protocol = match port.protocol {
        PortProtocol::Tcp => "",
        PortProtocol::Udp => "/udp",
        PortProtocol::Sctp => "/sctp",
    };
    format!("{address}{host}{}{protocol}", port.node)
}

pub(super) fn stages(map: &mut Map, node: &Node) {
    if node.stages.is_empty() {
        return;
    }
    let stages = node.stages.iter().map(|(name, stage)| {
        let mut inner = Map::new();
        if !stage.wait_for.is_empty() {
            let waits = stage.wait_for.iter().map(|wait| {
                Yaml::Map(vec![
                    ("node".to_owned(), Yaml::text(&wait.node)),
                    ("stage".to_owned(), Yaml::text(wait.stage.as_str())),
                ])
            });
            put(&mut inner, "wait-for", Yaml::List(waits.collect()));
        }
        if !stage.exec.is_empty() {
            let exec = stage.exec.iter().map(|exec| {
                let target = match exec.target {
                    StageExecTarget::Container => "container",
                    StageExecTarget::Host => "host",
                };
                let phase = match exec.phase {
                    Phase::OnEnter => "on-enter",
                    Phase::OnExit => "on-exit",
                };
                Yaml::Map(vec![
                    ("command".to_owned(), Yaml::text(&exec.command)),
                    ("target".to_owned(), Yaml::text(target)),
                    ("phase".to_owned(), Yaml::text(phase)),
                ])
            });
            put(&mut inner, "exec", Yaml::List(exec.collect()));
        }
        (name.as_str().to_owned(), Yaml::Map(inner))
    });
    put(map, "stages", Yaml::Map(stages.collect()));
}

pub(super) fn dns(map: &mut Map, node: &Node) {
    let mut inner = Map::new();
    if !node.dns.servers.is_empty() {
        put(&mut inner, "servers", Yaml::texts(&node.dns.servers));
    }
    list(&mut inner, "search", &node.dns.search);
    list(&mut inner, "options", &node.dns.options);
    if !inner.is_empty() {
        put(map, "dns", Yaml::Map(inner));
    }
}

pub(super) fn health(map: &mut Map, node: &Node) {
    let Some(health) = &node.healthcheck else { return };
    let test = match &health.test {
        HealthTest::None => Yaml::texts(["NONE"]),
        HealthTest::Command(words) => {
            Yaml::texts(std::iter::once("CMD").chain(words.iter().map(String::as_str)))
        }
        HealthTest::Shell(text) => Yaml::texts(["CMD-SHELL", text]),
    };
    let inner = vec![
        ("test".to_owned(), test),
        ("start-period".to_owned(), Yaml::bare(health.start_period_s)),
        ("interval".to_owned(), Yaml::bare(health.interval_s)),
        ("timeout".to_owned(), Yaml::bare(health.timeout_s)),
        ("retries".to_owned(), Yaml::bare(health.retries)),
    ];
    put(map, "healthcheck", Yaml::Map(inner));
}

/// Limits that containerlab has no key for.
pub(super) fn resources(node: &Node) -> Map {
    let limits = &node.resources;
    let mut map = Map::new();
    text(&mut map, "memory-high", limits.memory_high_bytes.map(|bytes| format!("{bytes}b")));
    text(&mut map, "swap", limits.swap_bytes.map(|bytes| format!("{bytes}b")));
    if let Some(weight) = limits.cpu_weight {
        put(&mut map, "cpu-weight", Yaml::bare(weight));
    }
    if let Some(pids) = limits.pids {
        put(&mut map, "pids", Yaml::bare(pids));
    }
    map
}

pub(super) fn network(network: &Network) -> Yaml {
    let (to, from) = network.impair.halves();
    // A LAN of two whose members have nothing of their own composes to what it declares.
    let untouched = network.members.len() == 2
        && network.members.iter().all(|m| m.to_lan == network.impair && m.from_lan.is_perfect());
    let members = network.members.iter().map(|member| {
        let mut map = Map::new();
        put(&mut map, "node", Yaml::text(&member.node));
        put(&mut map, "interface", Yaml::text(&member.interface));
        text(&mut map, "mac", member.mac);
        text(&mut map, "ipv4", member.ipv4);
        text(&mut map, "ipv6", member.ipv6);
        if !untouched {
            impairment(&mut map, "to-lan", &to, &member.to_lan);
            impairment(&mut map, "from-lan", &from, &member.from_lan);
        }
        match map.len() {
            2 => Yaml::text(member.name()),
            _ => Yaml::Map(map),
        }
    });
    let mut map = vec![("members".to_owned(), Yaml::List(members.collect()))];
    impairment(&mut map, "impair", &Impairment::default(), &network.impair);
    if network.mtu != DEFAULT_MTU {
        put(&mut map, "mtu", Yaml::bare(network.mtu));
    }
    Yaml::Map(map)
}

pub(super) fn event(event: &TimelineEvent) -> Yaml {
    let mut map = vec![("at".to_owned(), Yaml::text(format!("{}us", event.at_us)))];
    match &event.target {
        Target::Link { id, end } => {
            put(&mut map, "link", Yaml::text(id));
            text(&mut map, "end", end.as_ref());
        }
        Target::Network { name, member } => {
            put(&mut map, "network", Yaml::text(name));
            text(&mut map, "member", member.as_ref());
        }
    }
    let action = match event.action {
        Action::Down => "down",
        Action::Up => "up",
        Action::Set => "set",
        Action::Reset => "reset",
    };
    put(&mut map, "do", Yaml::text(action));
    if !event.set.is_empty() {
        let set = event.set.iter().map(|(key, value)| (key.clone(), Yaml::text(value)));
        put(&mut map, "set", Yaml::Flow(Box::new(Yaml::Map(set.collect()))));
    }
    Yaml::Map(map)
}
