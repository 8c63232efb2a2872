//! Links of all types, in the brief and the extended form (`vnode-lifecycle` 7.5).

mod ends;
mod words;

use std::collections::{BTreeMap, HashMap};

use vnode_protocol::impairment::Impairment;

use crate::keys;
use crate::model::{DEFAULT_MTU, Endpoint, Far, Link, MacvlanMode, Node, NodeKind};
use crate::parse::fields::{Fields, count, short, text, text_map};
use crate::parse::impair;
use crate::parse::wiring::Wiring;
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};
use words::vars;
pub(crate) use words::{mac, prefix};

/// All links of the lab, with the names under which events may speak of them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) links: Vec<Link>,
    /// `first--second` in both orders, as the identity and as the file has it.
    pub(crate) by_name: HashMap<String, usize>,
}

/// Reads `links`.
pub(crate) fn read(
    entry: Option<&Entry>,
    nodes: &[Node],
    wiring: &mut Wiring<'_>,
    report: &mut Report<'_>,
) -> Links {
    let mut links = Links::default();
    let Some(entry) = entry else { return links };
    let Yaml::List(items) = &entry.value.node else {
        report.error(&entry.value.at, format!("`links` is a list, not {}", entry.value.describe()));
        return links;
    };
    for item in items {
        let mut reader = Reader { nodes, wiring, report };
        if let Some((link, written)) = reader.link(item) {
            let at = links.links.len();
            for (first, second) in [&written, &(link.near.name(), link.far_name())] {
                links.by_name.entry(format!("{first}--{second}")).or_insert(at);
                links.by_name.entry(format!("{second}--{first}")).or_insert(at);
            }
            links.links.push(link);
        }
    }
    links
}

/// One end as written.
struct End {
    node: String,
    endpoint: Endpoint,
    /// `impair` of this end.
    impair: Option<std::rc::Rc<Value>>,
    at: At,
}

struct Reader<'r, 'w, 'n, 'a> {
    nodes: &'n [Node],
    wiring: &'r mut Wiring<'w>,
    report: &'r mut Report<'a>,
}

/// The ends' names in the order of the file.
type Written = (String, String);

impl Reader<'_, '_, '_, '_> {
    fn link(&mut self, item: &Value) -> Option<(Link, Written)> {
        if !matches!(item.node, Yaml::Map(_)) {
            self.report.error_with(
                &item.at,
                format!("a link is a map, not {}", item.describe()),
                "write `- endpoints: [\"a:eth1\", \"b:eth1\"]`",
            );
            return None;
        }
        let fields = Fields::read(item, "a link", keys::LINK, self.report);
        let given =
            fields.get("type").and_then(|e| Some((e, text(&e.value, "type", self.report)?)));
        let (kind, kind_at) =
            given.map_or(("veth", item.at.clone()), |(e, k)| (k, e.value.at.clone()));
        let two = matches!(kind, "veth" | "veth-stitch");
        let one =
            matches!(kind, "host" | "mgmt-net" | "macvlan" | "vxlan" | "vxlan-stitch" | "dummy");
        if !two && !one {
            self.report.error_with(
                &kind_at,
                format!("unknown type of link `{}`", short(kind)),
                "types are veth, veth-stitch, host, mgmt-net, macvlan, vxlan, vxlan-stitch and dummy",
            );
            return None;
        }
        let ends = self.ends(&fields, item, if two { 2 } else { 1 })?;
        let base = match fields.get("impair") {
            Some(entry) => impair::read(&Impairment::default(), &entry.value, self.report),
            None => Impairment::default(),
        };
        let mtu = fields
            .get("mtu")
            .and_then(|entry| count(&entry.value, "mtu", 68..=65_535, self.report))
            .and_then(|mtu| u32::try_from(mtu).ok())
            .unwrap_or(DEFAULT_MTU);
        let labels = fields.get("labels").map_or_else(BTreeMap::new, |entry| {
            let map = text_map(&entry.value, "labels", self.report);
            map.into_iter().map(|(key, value, _)| (key.to_owned(), value.to_owned())).collect()
        });
        let vars = vars(&fields, self.report);
        self.unused_keys(&fields, kind, two);
        let parts = if two {
            self.between(ends, &base, kind == "veth-stitch", &kind_at)
        } else {
            let end = ends.into_iter().next()?;
            self.outward(end, &base, kind, &fields, item)
        };
        let (near, far, written) = parts?;
        let mut link = Link {
            id: String::new(),
            near,
            far,
            mtu,
            labels,
            vars,
            span: self.report.span(&item.at),
        };
        link.id = format!("{}--{}", link.near.name(), link.far_name());
        let written = written.unwrap_or_else(|| (link.near.name(), link.far_name()));
        self.same_address(&link, item);
        Some((link, written))
    }

    /// Two ends of one link cannot have one address.
    fn same_address(&mut self, link: &Link, item: &Value) {
        if let Far::Node { endpoint: far, .. } = &link.far {
            let v4 = link.near.ipv4.map(|net| net.addr());
            let v6 = link.near.ipv6.map(|net| net.addr());
            if (v4.is_some() && v4 == far.ipv4.map(|net| net.addr()))
                || (v6.is_some() && v6 == far.ipv6.map(|net| net.addr()))
            {
                self.report
                    .error(&item.at, format!("both ends of `{}` have the same address", link.id));
            }
        }
    }

    /// A key of another type of link is not acted on.
    fn unused_keys(&mut self, fields: &Fields<'_>, kind: &str, two: bool) {
        for (name, entry) in fields.names() {
            let used = match name {
                "endpoints" => two || fields.get("endpoint").is_none(),
                "endpoint" => !two,
                "host-interface" => matches!(kind, "host" | "mgmt-net" | "macvlan"),
                "mode" => kind == "macvlan",
                "remote" | "vni" | "dst-port" | "udp-port" | "src-port" => {
                    kind.starts_with("vxlan")
                }
                _ => true,
            };
            if !used && !entry.value.is_null() {
                self.report.warn(
                    &entry.key_at,
                    format!("`{name}` has no meaning for a link of type {kind}"),
                );
            }
        }
    }

    /// A link between two ends, of which one may be the host in one of its forms.
    fn between(
        &mut self,
        ends: Vec<End>,
        base: &Impairment,
        stitch: bool,
        kind_at: &At,
    ) -> Option<(Endpoint, Far, Option<Written>)> {
        let written: Vec<String> = ends.iter().map(|end| end.endpoint.name()).collect();
        let written = (written.first()?.clone(), written.get(1)?.clone());
        let mut sides = Vec::with_capacity(2);
        for end in ends {
            let side = self.side(&end)?;
            let impair = match &end.impair {
                Some(value) => impair::read(base, value, self.report),
                None => base.clone(),
            };
            self.wiring.take(side.owner(&end), &end.endpoint.interface, &end.at, self.report);
            sides.push((side, end, impair));
        }
        // The near end is a container's.
        if !matches!(sides[0].0, Side::Container) {
            sides.swap(0, 1);
        }
        let (far_side, far_end, far_impair) = sides.pop()?;
        let (near_side, near_end, near_impair) = sides.pop()?;
        if !matches!(near_side, Side::Container) {
            self.report.error_with(
                &near_end.at,
                format!(
                    "neither `{}` nor `{}` is an interface of a container",
                    written.0, written.1
                ),
                "one end of a link is always in a linux node",
            );
            return None;
        }
        if stitch {
            self.report.warn_with(
                kind_at,
                "`veth-stitch` is made as one pair between the two nodes",
                "`vnode capture` and `impair` work on every link",
            );
        }
        let near = Endpoint { impair: near_impair, ..near_end.endpoint };
        let interface = far_end.endpoint.interface.clone();
        let far = match far_side {
            Side::Container | Side::Bridge => {
                Far::Node { endpoint: Endpoint { impair: far_impair, ..far_end.endpoint }, stitch }
            }
            Side::Host => Far::Host { interface, impair: far_impair },
            Side::Management => Far::Management { interface, impair: far_impair },
            Side::Macvlan => Far::Macvlan { interface, mode: MacvlanMode::Bridge },
        };
        Some((near, far, Some(written)))
    }

    /// A link of a type that has one end in a node.
    fn outward(
        &mut self,
        end: End,
        base: &Impairment,
        kind: &str,
        fields: &Fields<'_>,
        item: &Value,
    ) -> Option<(Endpoint, Far, Option<Written>)> {
        let side = self.side(&end)?;
        if !matches!(side, Side::Container) {
            self.report.error(
                &end.at,
                format!("`{}` is no interface of a container", end.endpoint.name()),
            );
            return None;
        }
        self.wiring.take(side.owner(&end), &end.endpoint.interface, &end.at, self.report);
        let impair = match &end.impair {
            Some(value) => impair::read(base, value, self.report),
            None => base.clone(),
        };
        let near = Endpoint { impair, ..end.endpoint };
        let needed = |name: &str, report: &mut Report<'_>| {
            let found = fields
                .get(name)
                .and_then(|e| text(&e.value, name, report))
                .filter(|t| !t.is_empty());
            if found.is_none() {
                report.error(&item.at, format!("a link of type {kind} needs `{name}`"));
            }
            found
        };
        let far = match kind {
            "dummy" => Far::Dummy,
            "host" | "mgmt-net" | "macvlan" => {
                let interface = needed("host-interface", self.report)?.to_owned();
                let at =
                    fields.get("host-interface").map_or(item.at.clone(), |e| e.value.at.clone());
                match kind {
                    "macvlan" => Far::Macvlan { interface, mode: self.mode(fields) },
                    _ => {
                        self.wiring.take("", &interface, &at, self.report);
                        match kind {
                            "host" => Far::Host { interface, impair: base.clone() },
                            _ => Far::Management { interface, impair: base.clone() },
                        }
                    }
                }
            }
            _ => {
                let remote = needed("remote", self.report)?.to_owned();
                needed("vni", self.report)?;
                let port_key =
                    if fields.get("udp-port").is_some() { "udp-port" } else { "dst-port" };
                needed(port_key, self.report)?;
                if remote.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
                    self.report.error(
                        &item.at,
                        format!("`remote: {}` is no address or host name", short(&remote)),
                    );
                }
                let mut number = |name: &str, high: u64| {
                    fields.get(name).and_then(|e| count(&e.value, name, 1..=high, self.report))
                };
                let vni = u32::try_from(number("vni", 16_777_215)?).ok()?;
                let dst_port = u16::try_from(number(port_key, 65_535)?).ok()?;
                // The kernel takes a range whose end does not belong to it.
                let src_port = number("src-port", 65_534).and_then(|port| u16::try_from(port).ok());
                Far::Vxlan { remote, vni, dst_port, src_port, stitch: kind == "vxlan-stitch" }
            }
        };
        Some((near, far, None))
    }

    fn mode(&mut self, fields: &Fields<'_>) -> MacvlanMode {
        let Some(entry) = fields.get("mode") else { return MacvlanMode::Bridge };
        let Some(given) = text(&entry.value, "mode", self.report) else {
            return MacvlanMode::Bridge;
        };
        let all = [
            MacvlanMode::Bridge,
            MacvlanMode::Private,
            MacvlanMode::Vepa,
            MacvlanMode::Passthru,
            MacvlanMode::Source,
        ];
        let found = all.into_iter().find(|mode| mode.as_str() == given);
        if found.is_none() {
            self.report.error_with(
                &entry.value.at,
                format!("there is no macvlan mode `{}`", short(given)),
                "modes are bridge, private, vepa, passthru and source",
            );
        }
        found.unwrap_or_default()
    }

    fn side(&mut self, end: &End) -> Option<Side> {
        let side = match self.wiring.node(&end.node) {
            Some(at) => match self.nodes.get(at).map(|node| node.kind) {
                Some(NodeKind::Bridge) => Side::Bridge,
                Some(NodeKind::Host) => Side::Host,
                _ => Side::Container,
            },
            None => match end.node.as_str() {
                "host" => Side::Host,
                "mgmt-net" => Side::Management,
                "macvlan" => Side::Macvlan,
                _ => {
                    self.wiring.unknown(&end.node, &end.at, self.report);
                    return None;
                }
            },
        };
        let interface = &end.endpoint.interface;
        if !crate::parse::wiring::is_interface(interface) {
            self.report.error_with(
                &end.at,
                format!("`{}` is no name for an interface", short(interface)),
                "1 to 60 visible characters without `:`",
            );
            return None;
        }
        Some(side)
    }
}

/// Where an end is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Container,
    Bridge,
    Host,
    Management,
    Macvlan,
}

impl Side {
    /// Node in whose network the interface is; empty is the host's, `macvlan` shares one.
    fn owner(self, end: &End) -> &str {
        match self {
            Self::Container => &end.node,
            Self::Bridge | Self::Host | Self::Management => "",
            Self::Macvlan => "macvlan",
        }
    }
}
