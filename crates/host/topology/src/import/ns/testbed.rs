//! The testbed's own commands, `tb-set-...`: losses, one way of a link, members of a LAN, addresses.

use std::net::Ipv4Addr;

use vnode_protocol::impairment::Impairment;

use super::build::{Pairs, Wire};
use super::object::{Object, shown};
use super::simulator::written;
use super::tcl::{Interpreter, Word};
use crate::report::At;

impl Interpreter<'_, '_> {
    /// Commands of the testbed.
    pub(super) fn tb(&mut self, name: &str, words: &[Word], at: &At) -> Option<Object> {
        match (name, words) {
            ("tb-set-link-loss", [link, loss]) => {
                let Some(Object::Link(link)) = self.wire(link) else { return None };
                self.lose(link, None, loss)
            }
            ("tb-set-link-loss", [from, to, loss]) => {
                let (from, to) = (self.node(from)?, self.node(to)?);
                match self.built.between(from, to) {
                    Some((link, _)) => self.lose(link, None, loss),
                    None => {
                        self.wrong(at, "there is no link between these nodes", "make it before")
                    }
                }
            }
            ("tb-set-lan-loss", [lan, loss]) => {
                let Some(Object::Lan(lan)) = self.wire(lan) else { return None };
                let mut impair = self.built.lans[lan].impair.clone();
                self.put(&mut impair, "loss-ratio", loss)?;
                self.built.lans[lan].impair = impair;
                None
            }
            ("tb-set-link-simplex-params", [link, from, delay, rate, loss]) => {
                let Some(Object::Link(link)) = self.wire(link) else { return None };
                let node = self.node(from)?;
                let ends = &self.built.links[link].ends;
                let Some(end) = ends.iter().position(|end| end.node == node) else {
                    return self.wrong(
                        &from.at,
                        "this node is not on that link",
                        "name one of its two",
                    );
                };
                let rate = self.rate(rate)?;
                let mut way = self.built.links[link].ways[end].clone().unwrap_or_default();
                way.rate_bps = rate;
                self.put(&mut way, "delay", delay)?;
                self.put(&mut way, "loss-ratio", loss)?;
                self.built.links[link].ways[end] = Some(way);
                None
            }
            (
                "tb-set-lan-simplex-params",
                [lan, node, to_delay, to_rate, to_loss, delay, rate, loss],
            ) => {
                let (lan, member) = self.member(lan, node)?;
                let to = self.params(to_delay, to_rate, to_loss)?;
                let from = self.params(delay, rate, loss)?;
                let member = &mut self.built.lans[lan].members[member];
                (member.to, member.from) = (to, from);
                None
            }
            ("tb-set-node-lan-params", [node, lan, delay, rate, loss]) => {
                let (lan, member) = self.member(lan, node)?;
                let both = self.params(delay, rate, loss)?;
                let member = &mut self.built.lans[lan].members[member];
                (member.to, member.from) = (both.clone(), both);
                None
            }
            (
                "tb-set-node-lan-delay" | "tb-set-node-lan-bandwidth" | "tb-set-node-lan-loss",
                [node, lan, value],
            ) => {
                let (lan, member) = self.member(lan, node)?;
                let mut scratch = Impairment::default();
                let pair = match name {
                    "tb-set-node-lan-delay" => {
                        self.put(&mut scratch, "delay", value)?;
                        ("delay", written(&scratch, "delay", "0ms"))
                    }
                    "tb-set-node-lan-loss" => {
                        self.put(&mut scratch, "loss-ratio", value)?;
                        ("loss", written(&scratch, "loss", "0%"))
                    }
                    _ => {
                        scratch.rate_bps = self.rate(value)?;
                        ("rate", written(&scratch, "rate", "unlimited"))
                    }
                };
                let member = &mut self.built.lans[lan].members[member];
                for way in [&mut member.to, &mut member.from] {
                    way.retain(|(key, _)| *key != pair.0);
                    way.push(pair.clone());
                }
                None
            }
            ("tb-set-ip", [node, address]) => {
                let number = self.node(node)?;
                let mut ends = Vec::new();
                for (at, link) in self.built.links.iter().enumerate() {
                    for (end, one) in link.ends.iter().enumerate() {
                        if one.node == number {
                            ends.push((Wire::Link(at), end));
                        }
                    }
                }
                for (at, lan) in self.built.lans.iter().enumerate() {
                    for (end, one) in lan.members.iter().enumerate() {
                        if one.end.node == number {
                            ends.push((Wire::Lan(at), end));
                        }
                    }
                }
                match ends.as_slice() {
                    [(wire, end)] => self.address(*wire, *end, address),
                    [] => {
                        self.wrong(&node.at, "this node has no link yet", "set it after the link")
                    }
                    _ => self.wrong(
                        &node.at,
                        "this node has several links",
                        "`tb-set-ip-link` and `tb-set-ip-lan` say which is meant",
                    ),
                }
            }
            ("tb-set-ip-link" | "tb-set-ip-lan", [node, wire, address]) => {
                let number = self.node(node)?;
                let found = match self.wire(wire)? {
                    Object::Link(link) => {
                        let ends = self.built.links[link].ends.iter();
                        ends.map(|end| end.node)
                            .position(|n| n == number)
                            .map(|e| (Wire::Link(link), e))
                    }
                    Object::Lan(lan) => {
                        let members = self.built.lans[lan].members.iter();
                        let at = members.map(|m| m.end.node).position(|n| n == number);
                        at.map(|end| (Wire::Lan(lan), end))
                    }
                    _ => None,
                };
                match found {
                    Some((wire, end)) => self.address(wire, end, address),
                    None => {
                        self.wrong(&node.at, "this node is not on that link", "name one that is")
                    }
                }
            }
            ("tb-set-ip-interface", [from, to, address]) => {
                let (from, to) = (self.node(from)?, self.node(to)?);
                match self.built.between(from, to) {
                    Some((link, end)) => self.address(Wire::Link(link), end, address),
                    None => {
                        self.wrong(at, "there is no link between these nodes", "make it before")
                    }
                }
            }
            ("tb-set-netmask", [wire, mask]) => {
                let length = mask.text.parse::<Ipv4Addr>().ok().map(u32::from);
                let length =
                    length.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32);
                let Some(length) = length.and_then(|m| u8::try_from(m.leading_ones()).ok()) else {
                    let text = format!("`{}` is no netmask", shown(&mask.text));
                    return self.wrong(&mask.at, text, "write `255.255.255.0`");
                };
                match self.wire(wire)? {
                    Object::Link(link) => self.built.links[link].prefix = Some(length),
                    Object::Lan(lan) => self.built.lans[lan].prefix = Some(length),
                    _ => {}
                }
                None
            }
            _ => self.unmapped(at, &format!("`{}`", shown(name))),
        }
    }

    /// A link or LAN.
    fn wire(&mut self, word: &Word) -> Option<Object> {
        match Object::read(&word.text) {
            Some(found @ (Object::Link(_) | Object::Lan(_))) => Some(found),
            Some(Object::Way(link, _)) => Some(Object::Link(link)),
            Some(Object::Unknown) => None,
            _ => {
                let text = format!("`{}` is no link", shown(&word.text));
                self.wrong(
                    &word.at,
                    text,
                    "`set l0 [$ns duplex-link ...]` makes one; `$l0` names it",
                )
            }
        }
    }

    fn member(&mut self, lan: &Word, node: &Word) -> Option<(usize, usize)> {
        let (lan_at, node_at) = (lan.at.clone(), node.at.clone());
        let Some(Object::Lan(lan)) = self.wire(lan) else {
            self.wrong(&lan_at, "this is no LAN", "`set lan0 [$ns make-lan ...]` makes one");
            return None;
        };
        let node = self.node(node)?;
        let at = self.built.lans[lan].members.iter().position(|member| member.end.node == node);
        if at.is_none() {
            self.wrong(&node_at, "this node is not in that LAN", "name one of its members");
        }
        Some((lan, at?))
    }

    fn lose(&mut self, link: usize, end: Option<usize>, loss: &Word) -> Option<Object> {
        for at in 0..2 {
            if end.is_none_or(|end| end == at) {
                let mut way = self.built.links[link].ways[at].clone().unwrap_or_default();
                self.put(&mut way, "loss-ratio", loss)?;
                self.built.links[link].ways[at] = Some(way);
            }
        }
        None
    }

    /// A member's delay, rate and loss, all three said.
    fn params(&mut self, delay: &Word, rate: &Word, loss: &Word) -> Option<Pairs> {
        let mut scratch = Impairment::default();
        self.put(&mut scratch, "delay", delay)?;
        self.put(&mut scratch, "loss-ratio", loss)?;
        scratch.rate_bps = self.rate(rate)?;
        Some(vec![
            ("rate", written(&scratch, "rate", "unlimited")),
            ("delay", written(&scratch, "delay", "0ms")),
            ("loss", written(&scratch, "loss", "0%")),
        ])
    }

    fn address(&mut self, wire: Wire, end: usize, address: &Word) -> Option<Object> {
        let Ok(parsed) = address.text.parse::<Ipv4Addr>() else {
            let text = format!("`{}` is no address", shown(&address.text));
            return self.wrong(&address.at, text, "write `10.1.2.3`");
        };
        match wire {
            Wire::Link(link) => self.built.links[link].ends[end].address = Some(parsed),
            Wire::Lan(lan) => self.built.lans[lan].members[end].end.address = Some(parsed),
        }
        None
    }
}
