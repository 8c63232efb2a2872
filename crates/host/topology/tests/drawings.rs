//! Drawings hold every node, LAN and link, and let no text out of its place.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{lab, read};
use vnode_topology::graph;

const LAB: &str = "name: t
topology:
  nodes:
    a: {group: <edge>}
    b:
    br: {kind: bridge}
  links:
    - {endpoints: [\"a:eth1\", \"b:eth1\"], impair: {rate: 1mbit}}
    - endpoints: [\"a:<&\\\"'>\", \"a:eth9\"]
    - endpoints: [\"b:eth2\", \"br:p1\"]
    - endpoints: [\"b:eth3\", \"host:veth\"]
    - {type: dummy, endpoint: {node: b, interface: eth4}}
  networks:
    lan: {members: [\"a:eth5\", \"b:eth5\", {node: a, interface: eth6, impair: {delay: 3ms}}], impair: {rate: 10mbit}}
";

#[test]
fn svg_is_well_formed_and_whole() {
    let drawing = graph::svg(&lab(LAB));
    // Tags close in order, and no text makes a tag or an entity of its own.
    let mut open = Vec::new();
    let mut rest = drawing.as_str();
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').unwrap() + at;
        let tag = &rest[at + 1..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap().to_owned());
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty());
    for text in [
        ">a</text>",
        ">br</text>",
        ">lan (rate=10mbit)</text>",
        ">host</text>",
        ">rate=1mbit</text>",
        "&lt;&amp;&quot;&#39;&gt;",
        "a (group &lt;edge&gt;)",
    ] {
        assert!(drawing.contains(text), "{text}\n{drawing}");
    }
    assert_eq!(drawing.matches("<path").count(), 7);
    assert!(!drawing.contains("NaN"));
    assert_eq!(drawing, graph::svg(&lab(LAB)));
}

#[test]
fn mermaid_and_dot_hold_the_same() {
    let lab = lab(LAB);
    let mermaid = graph::mermaid(&lab);
    assert!(mermaid.starts_with("graph LR\n  p0[\"a\"]\n"), "{mermaid}");
    assert!(mermaid.contains("p0 ---|\"eth1 - eth1, rate=1mbit\"| p1"), "{mermaid}");
    assert!(mermaid.contains("#60;#38;#34;#39;#62;"), "{mermaid}");
    assert_eq!(mermaid.matches("---").count(), 7);
    let dot = graph::dot(&lab);
    assert!(dot.contains("taillabel=\"<&\\\"'>\""), "{dot}");
    assert_eq!(dot.matches(" -- ").count(), 7);
}

#[test]
fn points_stand_apart() {
    let nodes: String = (0..30).map(|at| format!("    n{at}:\n")).collect();
    let links: String =
        (1..30).map(|at| format!("    - endpoints: [\"n0:e{at}\", \"n{at}:e1\"]\n")).collect();
    let drawing =
        graph::svg(&lab(&format!("name: t\ntopology:\n  nodes:\n{nodes}  links:\n{links}")));
    let number = |line: &str, key: &str| -> f64 {
        let from = line.find(key).unwrap() + key.len();
        let text: String = line[from..].chars().take_while(|c| *c != '"').collect();
        text.parse().unwrap()
    };
    let spots: Vec<(f64, f64)> = drawing
        .lines()
        .filter(|line| line.contains("<rect"))
        .map(|line| (number(line, " x=\""), number(line, " y=\"")))
        .collect();
    assert_eq!(spots.len(), 30);
    for (at, one) in spots.iter().enumerate() {
        for other in &spots[at + 1..] {
            assert!((one.0 - other.0).hypot(one.1 - other.1) > 30.0, "{one:?} {other:?}");
        }
    }
}

#[test]
fn the_largest_lab_is_drawn() {
    let nodes: String = (0..20_000).map(|at| format!("    n{at}:\n")).collect();
    let parsed = read(&format!("name: t\ntopology:\n  nodes:\n{nodes}")).unwrap();
    assert_eq!(graph::svg(&parsed.lab).matches("<rect").count(), 20_000);
    assert_eq!(graph::svg(&vnode_topology::Lab::default()).matches("<rect").count(), 0);
}
