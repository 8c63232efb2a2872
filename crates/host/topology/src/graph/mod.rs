//! Drawings of a lab: SVG for a browser, Mermaid for documents, DOT for Graphviz.

mod layout;
mod svg;

use std::collections::HashMap;
use std::fmt::Write as _;

use vnode_protocol::impairment::Impairment;

use crate::model::{Far, Lab, NodeKind};

pub use svg::svg;

/// What is drawn: points and lines between them.
#[derive(Debug, Default)]
struct Picture {
    points: Vec<Point>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Point {
    label: String,
    /// Free text of the node's `group`.
    group: Option<String>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Node,
    Bridge,
    Network,
    /// The host, and what lies outside the lab.
    Outside,
}

/// A link, or a member's line to its LAN.
#[derive(Debug)]
struct Line {
    from: usize,
    to: usize,
    from_label: String,
    to_label: String,
    /// Impairments, in words.
    note: String,
}

impl Picture {
    fn of(lab: &Lab) -> Self {
        let mut picture = Self::default();
        let mut nodes: HashMap<&str, usize> = HashMap::new();
        for node in &lab.nodes {
            let shape = match node.kind {
                NodeKind::Linux | NodeKind::Vm => Shape::Node,
                NodeKind::Bridge => Shape::Bridge,
                NodeKind::Host => Shape::Outside,
            };
            nodes.insert(&node.name, picture.points.len());
            picture.points.push(Point {
                label: node.name.clone(),
                group: node.group.clone(),
                shape,
            });
        }
        let mut outside: HashMap<String, usize> = HashMap::new();
        for link in &lab.links {
            let Some(&from) = nodes.get(link.near.node.as_str()) else { continue };
            let (label, to_label) = match &link.far {
                Far::Node { endpoint, .. } => {
                    let Some(&to) = nodes.get(endpoint.node.as_str()) else { continue };
                    picture.lines.push(Line {
                        from,
                        to,
                        from_label: link.near.interface.clone(),
                        to_label: endpoint.interface.clone(),
                        note: both(&link.near.impair, &endpoint.impair),
                    });
                    continue;
                }
                Far::Host { interface, .. } => ("host".to_owned(), interface.clone()),
                Far::Management { interface, .. } => {
                    (format!("management {}", lab.mgmt.network), interface.clone())
                }
                Far::Macvlan { interface, .. } => {
                    (format!("host {interface}"), "macvlan".to_owned())
                }
                Far::Vxlan { remote, vni, .. } => (remote.clone(), format!("vxlan {vni}")),
                Far::Dummy => continue,
            };
            let to = *outside.entry(label.clone()).or_insert_with(|| {
                picture.points.push(Point { label, group: None, shape: Shape::Outside });
                picture.points.len() - 1
            });
            let perfect = Impairment::default();
            let note = both(&link.near.impair, link.far_impair().unwrap_or(&perfect));
            let from_label = link.near.interface.clone();
            picture.lines.push(Line { from, to, from_label, to_label, note });
        }
        for network in &lab.networks {
            let to = picture.points.len();
            let mut label = network.name.clone();
            if !network.impair.is_perfect() {
                // Writing to a String cannot fail.
                let _ = write!(label, " ({})", network.impair);
            }
            picture.points.push(Point { label, group: None, shape: Shape::Network });
            let (to_lan, from_lan) = network.impair.halves();
            for member in &network.members {
                let Some(&from) = nodes.get(member.node.as_str()) else { continue };
                // What the LAN's own declaration makes is said at the LAN.
                let own = if network.members.len() == 2 {
                    member.to_lan != network.impair
                } else {
                    member.to_lan != to_lan || member.from_lan != from_lan
                };
                let note = if own { both(&member.to_lan, &member.from_lan) } else { String::new() };
                picture.lines.push(Line {
                    from,
                    to,
                    from_label: member.interface.clone(),
                    to_label: String::new(),
                    note,
                });
            }
        }
        picture
    }
}

/// Impairments of the two directions, in the fewest words.
fn both(there: &Impairment, back: &Impairment) -> String {
    match (there.is_perfect(), back.is_perfect()) {
        (true, true) => String::new(),
        _ if there == back => there.to_string(),
        _ => format!("→ {there} / ← {back}"),
    }
}

/// The lab as a Mermaid flow chart.
pub fn mermaid(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let mut out = String::from("graph LR\n");
    for (at, point) in picture.points.iter().enumerate() {
        let label = mermaid_text(&point.label);
        let (open, close) = match point.shape {
            Shape::Node => ("[", "]"),
            Shape::Bridge => ("[[", "]]"),
            Shape::Network => ("([", "])"),
            Shape::Outside => ("{{", "}}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  p{at}{open}\"{label}\"{close}");
    }
    for line in &picture.lines {
        let mut words = vec![line.from_label.as_str(), line.to_label.as_str()];
        words.retain(|word| !word.is_empty());
        let mut label = words.join(" - ");
        if !line.note.is_empty() {
            label.push_str(", ");
            label.push_str(&line.note);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  p{} ---|\"{}\"| p{}", line.from, mermaid_text(&label), line.to);
    }
    out
}

/// Everything but plain characters as Mermaid's entities.
fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || " .-_:/=%,()←→".contains(c) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    out
}

/// The lab as a Graphviz graph.
pub fn dot(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let mut out = format!("graph {} {{\n", dot_text(&lab.name));
    out.push_str("  node [shape=box, style=rounded];\n");
    for (at, point) in picture.points.iter().enumerate() {
        let shape = match point.shape {
            Shape::Node => "",
            Shape::Bridge => ", shape=box, style=filled",
            Shape::Network => ", shape=ellipse, style=solid",
            Shape::Outside => ", shape=hexagon, style=dashed",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  p{at} [label={}{shape}];", dot_text(&point.label));
    }
    for line in &picture.lines {
        let _ = writeln!(
            out,
            "  p{} -- p{} [taillabel={}, headlabel={}, label={}];",
            line.from,
            line.to,
            dot_text(&line.from_label),
            dot_text(&line.to_label),
            dot_text(&line.note)
        );
    }
    out.push_str("}\n");
    out
}

fn dot_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
