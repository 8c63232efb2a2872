//! The commands of NS itself: nodes, links, LANs, queues, and when they change.

use vnode_protocol::impairment::{Aqm, Impairment};

use super::build::{End, Event, Lan, Link, Member, Node, Pairs, Wire};
use super::object::{Object, UNKNOWN, shown};
use super::tcl::{Interpreter, Word};
use crate::MOST_NODES;
use crate::report::At;

/// Links, LANs and members, of one file.
const MOST_WIRES: usize = 100_000;
const MOST_EVENTS: usize = 100_000;

impl Interpreter<'_, '_> {
    /// A command that is no Tcl.
    pub(super) fn testbed(&mut self, words: &[Word], at: &At) -> String {
        let result = match Object::read(&words[0].text) {
            Some(Object::Simulator) => self.simulator(&words[1..], at),
            Some(Object::Link(link)) => self.of_link(link, &words[1..], at),
            Some(Object::Way(link, end)) => match words.get(1).map(|word| word.text.as_str()) {
                Some("queue") => Some(Object::Queue(link, end)),
                _ => self.unmapped(at, "this command of a link"),
            },
            Some(Object::Queue(link, end)) => self.of_queue(link, end, &words[1..], at),
            Some(Object::Node(_)) => self.unmapped_word(at, words.get(1), "of a node"),
            Some(Object::Lan(_)) => self.unmapped_word(at, words.get(1), "of a LAN"),
            Some(Object::Unknown) => Some(Object::Unknown),
            None if words[0].text.starts_with("tb-") => self.tb(&words[0].text, &words[1..], at),
            None => self.unmapped_word(at, words.first(), ""),
        };
        // Commands that make nothing give nothing; what went wrong has been told.
        result.map_or_else(|| UNKNOWN.to_owned(), Object::word)
    }

    /// Lists something that has no meaning here.
    pub(super) fn unmapped(&mut self, at: &At, what: &str) -> Option<Object> {
        self.report.warn(at, format!("{what} is not mapped"));
        None
    }

    pub(super) fn unmapped_word(
        &mut self,
        at: &At,
        word: Option<&Word>,
        of: &str,
    ) -> Option<Object> {
        let word = word.map(|word| shown(&word.text)).unwrap_or_default();
        self.unmapped(at, format!("`{word}` {of}").trim_end())
    }

    pub(super) fn wrong(&mut self, at: &At, text: impl Into<String>, hint: &str) -> Option<Object> {
        self.report.error_with(at, text, hint);
        None
    }

    fn simulator(&mut self, words: &[Word], at: &At) -> Option<Object> {
        let verb = words.first().map_or("", |word| word.text.as_str());
        match (verb, words.get(1..).unwrap_or_default()) {
            ("node", []) => {
                if self.built.nodes.len() >= MOST_NODES {
                    return self.wrong(at, format!("more than {MOST_NODES} nodes"), "make it smaller");
                }
                self.built.nodes.push(Node { name: None });
                Some(Object::Node(self.built.nodes.len() - 1))
            }
            ("duplex-link" | "simplex-link", [from, to, rate, delay, queue]) => {
                let (from, to) = (self.node(from)?, self.node(to)?);
                let way = self.way(rate, delay, Some(queue))?;
                if verb == "simplex-link"
                    && let Some((link, end)) = self.built.between(from, to)
                    && self.built.links[link].ways[end].is_none()
                {
                    self.built.links[link].ways[end] = Some(way);
                    return Some(Object::Link(link));
                }
                let back = (verb == "duplex-link").then(|| way.clone());
                self.room(at)?;
                let end = |node| End { node, address: None };
                self.built.links.push(Link {
                    name: None,
                    ends: [end(from), end(to)],
                    ways: [Some(way), back],
                    prefix: None,
                });
                let number = self.built.links.len() - 1;
                self.built.wires.push(Wire::Link(number));
                Some(Object::Link(number))
            }
            ("make-lan", [members, rate, delay]) => {
                let impair = self.way(rate, delay, None)?;
                let mut list = Vec::new();
                for text in members.text.split_whitespace() {
                    let member = members.with(text);
                    let node = self.node(&member)?;
                    let end = End { node, address: None };
                    list.push(Member { end, to: Vec::new(), from: Vec::new() });
                }
                self.room(at)?;
                self.built.lans.push(Lan { name: None, members: list, impair, prefix: None });
                let number = self.built.lans.len() - 1;
                self.built.wires.push(Wire::Lan(number));
                Some(Object::Lan(number))
            }
            ("link", [from, to]) => {
                let (a, b) = (self.node(from)?, self.node(to)?);
                match self.built.between(a, b) {
                    Some((link, end)) => Some(Object::Way(link, end)),
                    None => self.wrong(at, "there is no link between these nodes", "make it before"),
                }
            }
            ("at", [time, what]) => self.event(time, what, at),
            ("run", _) => None,
            ("node" | "duplex-link" | "simplex-link" | "make-lan" | "link" | "at", _) => self.wrong(
                at,
                format!("`{verb}` has another number of arguments"),
                "duplex-link A B RATE DELAY QUEUE, make-lan {NODES} RATE DELAY, at TIME {OBJECT VERB ...}",
            ),
            _ => self.unmapped_word(at, words.first(), "of the simulator"),
        }
    }

    fn room(&mut self, at: &At) -> Option<()> {
        let members: usize = self.built.lans.iter().map(|lan| lan.members.len()).sum();
        if self.built.wires.len() + members < MOST_WIRES {
            return Some(());
        }
        self.wrong(at, format!("more than {MOST_WIRES} links and members"), "make it smaller");
        None
    }

    /// A link's rate, delay and queue.
    fn way(&mut self, rate: &Word, delay: &Word, queue: Option<&Word>) -> Option<Impairment> {
        let mut way = Impairment::default();
        if let Some(rate) = self.rate(rate)? {
            way.rate_bps = Some(rate);
        }
        self.put(&mut way, "delay", delay)?;
        match queue.map(|queue| (queue, queue.text.as_str())) {
            None | Some((_, "DropTail")) => {}
            Some((_, "RED")) if way.rate_bps.is_some() => way.aqm = Some(Aqm::Red),
            Some((queue, _)) => {
                let at = queue.at.clone();
                self.unmapped_word(&at, Some(queue), "as a queue");
            }
        }
        Some(way)
    }

    /// Bits per second; `Some(None)` is as fast as can be.
    pub(super) fn rate(&mut self, word: &Word) -> Option<Option<u64>> {
        let text = word.text.trim();
        if matches!(text, "*" | "~" | "0") {
            return Some(None);
        }
        if text.starts_with('\u{1}') {
            return None;
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.trim_end_matches("ps").trim_end_matches("it");
        let written = match unit {
            "" | "b" => format!("{number}bit"),
            "k" | "kb" => format!("{number}kbit"),
            "m" | "mb" => format!("{number}mbit"),
            "g" | "gb" => format!("{number}gbit"),
            _ => {
                self.wrong(
                    &word.at,
                    format!("`{}` is no rate", shown(text)),
                    "write bits per second, as in `100Mb` or `1500000`",
                );
                return None;
            }
        };
        let mut scratch = Impairment::default();
        match scratch.set("rate", &written) {
            Ok(_) => Some(scratch.rate_bps),
            Err(error) => {
                self.report.error(&word.at, error.to_string());
                None
            }
        }
    }

    /// Sets a parameter from an NS value: a bare delay is milliseconds, a loss a ratio.
    pub(super) fn put(
        &mut self,
        way: &mut Impairment,
        key: &'static str,
        word: &Word,
    ) -> Option<()> {
        if word.text.starts_with('\u{1}') {
            return None;
        }
        match way.set(key, &word.text) {
            Ok(_) => Some(()),
            Err(error) => {
                self.report.error(&word.at, error.to_string());
                None
            }
        }
    }

    pub(super) fn node(&mut self, word: &Word) -> Option<usize> {
        match Object::read(&word.text) {
            Some(Object::Node(node)) => Some(node),
            Some(Object::Unknown) => None,
            _ => {
                let text = format!("`{}` is no node", shown(&word.text));
                self.wrong(&word.at, text, "`set n0 [$ns node]` makes one; `$n0` names it");
                None
            }
        }
    }

    fn of_link(&mut self, link: usize, words: &[Word], at: &At) -> Option<Object> {
        match words.first().map(|word| word.text.as_str()) {
            Some("queue") => Some(Object::Queue(link, 0)),
            _ => self.unmapped_word(at, words.first(), "of a link"),
        }
    }

    fn of_queue(&mut self, link: usize, end: usize, words: &[Word], at: &At) -> Option<Object> {
        let [set, key, value] = words else {
            return self.unmapped(at, "this command of a queue");
        };
        let way = self.built.links.get(link).and_then(|link| link.ways[end].clone());
        let mut way = way.unwrap_or_default();
        match (set.text.as_str(), key.text.as_str()) {
            ("set", "limit_") => self.put(&mut way, "queue", value)?,
            ("set", "queue-in-bytes_") if matches!(value.text.as_str(), "0" | "false") => {}
            _ => return self.unmapped_word(at, Some(key), "of a queue"),
        }
        self.built.links[link].ways[end] = Some(way);
        None
    }

    /// `at TIME "OBJECT VERB KEY=VALUE ..."`.
    fn event(&mut self, time: &Word, what: &Word, at: &At) -> Option<Object> {
        let seconds = time.text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
        if seconds.is_none() {
            let text = format!("`{}` is no time", shown(&time.text));
            return self.wrong(&time.at, text, "write seconds after the start, as in `10.5`");
        }
        if self.built.events.len() >= MOST_EVENTS {
            return self.wrong(at, format!("more than {MOST_EVENTS} events"), "make it smaller");
        }
        // In braces the names have not been put in yet.
        let text = self.expanded(what);
        let mut words = text.split_whitespace();
        let (object, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (object, member) = object
            .split_once("-\u{1}")
            .map_or((object, None), |(wire, node)| (wire, Object::read(&format!("\u{1}{node}"))));
        let wire = match Object::read(object) {
            Some(Object::Link(link)) => Wire::Link(link),
            Some(Object::Lan(lan)) => Wire::Lan(lan),
            Some(Object::Unknown) => return None,
            _ => return self.unmapped(at, &format!("the event `{}`", shown(&text))),
        };
        let mut node = match member {
            Some(Object::Node(node)) => Some(node),
            _ => None,
        };
        let verb = match verb.to_ascii_lowercase().as_str() {
            "up" => "up",
            "down" => "down",
            "modify" => "set",
            "reset" => "reset",
            _ => return self.unmapped(at, &format!("the event `{}`", shown(&text))),
        };
        let mut set = Pairs::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let mut scratch = Impairment::default();
            let given = |unit: &str| what.with(format!("{value}{unit}"));
            match (key.to_ascii_uppercase().as_str(), wire) {
                ("BANDWIDTH", _) => {
                    // Of events it is kbit/s.
                    scratch.rate_bps = self.rate(&given("kb"))?;
                    set.push(("rate", written(&scratch, "rate", "unlimited")));
                }
                ("DELAY", _) => {
                    self.put(&mut scratch, "delay", &given("ms"))?;
                    set.push(("delay", written(&scratch, "delay", "0ms")));
                }
                ("PLR", _) => {
                    self.put(&mut scratch, "loss-ratio", &given(""))?;
                    set.push(("loss", written(&scratch, "loss", "0%")));
                }
                ("LIMIT", _) => {
                    self.put(&mut scratch, "queue", &given(""))?;
                    set.push(("queue", written(&scratch, "queue", "none")));
                }
                ("PIPE", Wire::Link(link)) if matches!(value, "pipe0" | "pipe1" | "0" | "1") => {
                    let end = usize::from(value.ends_with('1'));
                    node = Some(self.built.links[link].ends[end].node);
                }
                _ => {
                    self.unmapped(at, &format!("`{}` of an event", shown(word)));
                }
            }
        }
        if verb == "set" && set.is_empty() {
            return None;
        }
        if verb != "set" && !set.is_empty() {
            return self.wrong(
                at,
                format!("`{verb}` takes no parameters"),
                "write an event `modify`",
            );
        }
        self.built.events.push(Event { at: time.text.clone(), wire, node, verb, set });
        None
    }
}

/// A parameter of an impairment as a topology file has it.
pub(super) fn written(way: &Impairment, key: &str, none: &str) -> String {
    let pairs = way.pairs();
    let found = pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value);
    found.unwrap_or_else(|| none.to_owned())
}
