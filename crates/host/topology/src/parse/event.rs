//! The `events` timeline.

use std::collections::HashMap;

use crate::keys;
use crate::model::{Action, Far, Link, Network, Target, TimelineEvent};
use crate::parse::fields::{Fields, short, text};
use crate::parse::impair;
use crate::parse::link::Links;
use crate::report::Report;
use crate::yaml::{Entry, Node as Yaml, Value};

/// Latest time taken: 30 days.
const LATEST_US: f64 = 30.0 * 86_400.0 * 1e6;

/// Reads `events`; they come out in the order of their time.
pub(crate) fn read(
    entry: Option<&Entry>,
    links: &Links,
    networks: &[Network],
    report: &mut Report<'_>,
) -> Vec<TimelineEvent> {
    let Some(entry) = entry else { return Vec::new() };
    let Yaml::List(items) = &entry.value.node else {
        report.error_with(
            &entry.value.at,
            format!("`events` is a list, not {}", entry.value.describe()),
            "write `- {at: 10s, link: \"a:eth1--b:eth1\", do: down}` below it",
        );
        return Vec::new();
    };
    let lans = Lans::new(networks);
    let mut events: Vec<TimelineEvent> =
        items.iter().filter_map(|item| event(item, links, &lans, report)).collect();
    events.sort_by_key(|event| event.at_us);
    events
}

/// LANs and their members by name; a member is also called by its node where it has no other.
struct Lans<'n> {
    networks: HashMap<&'n str, &'n Network>,
    members: HashMap<(&'n str, String), Option<String>>,
}

impl<'n> Lans<'n> {
    fn new(networks: &'n [Network]) -> Self {
        let mut members = HashMap::new();
        for network in networks {
            for member in &network.members {
                let name = member.name();
                members.insert((network.name.as_str(), name.clone()), Some(name.clone()));
                members
                    .entry((network.name.as_str(), member.node.clone()))
                    .and_modify(|other| *other = None)
                    .or_insert(Some(name));
            }
        }
        let networks = networks.iter().map(|network| (network.name.as_str(), network)).collect();
        Self { networks, members }
    }
}

fn event(
    item: &Value,
    links: &Links,
    lans: &Lans<'_>,
    report: &mut Report<'_>,
) -> Option<TimelineEvent> {
    let fields = Fields::read(item, "an event", keys::EVENT, report);
    let at_us = match fields.get("at") {
        Some(entry) => time(&entry.value, report),
        None => {
            report.error_with(
                &item.at,
                "the event has no `at`",
                "write `at: 10s`, the time after the lab came up",
            );
            None
        }
    };
    let target = target(item, &fields, links, lans, report);
    let set = fields.get("set").map_or_else(Vec::new, |e| impair::parameters(&e.value, report));
    let action = match fields.get("do").and_then(|e| Some((e, text(&e.value, "do", report)?))) {
        None if fields.get("do").is_none() && fields.get("set").is_some() => Some(Action::Set),
        None => {
            if fields.get("do").is_none() {
                report.error_with(
                    &item.at,
                    "the event does nothing",
                    "write `do: down`, up, set or reset",
                );
            }
            None
        }
        Some((_, "down")) => Some(Action::Down),
        Some((_, "up")) => Some(Action::Up),
        Some((_, "set" | "modify")) => Some(Action::Set),
        Some((_, "reset")) => Some(Action::Reset),
        Some((entry, other)) => {
            report.error_with(
                &entry.value.at,
                format!("an event cannot do `{}`", short(other)),
                "it does down, up, set or reset",
            );
            None
        }
    };
    match (action, fields.get("set")) {
        (Some(Action::Set), None) => {
            report.error_with(
                &item.at,
                "`do: set` names nothing to set",
                "write `set: {delay: 20ms}`",
            );
            return None;
        }
        (Some(Action::Down | Action::Reset), Some(entry)) => {
            report.error_with(
                &entry.key_at,
                "`set` goes with `do: set` or `do: up`",
                "write an event of its own for it",
            );
            return None;
        }
        _ => {}
    }
    if let (Some(Target::Link { id, end: Some(_) }), Some(Action::Down | Action::Up)) =
        (&target, action)
        && links.links.iter().any(|link| link.id == *id && !has_two_ends(link))
        && let Some(entry) = fields.get("end")
    {
        report.error_with(
            &entry.key_at,
            format!("one direction of `{id}` cannot be cut: its other end is not ours"),
            "leave out `end`, and all of it goes down",
        );
        return None;
    }
    Some(TimelineEvent {
        at_us: at_us?,
        target: target?,
        action: action?,
        set,
        span: report.span(&item.at),
    })
}

fn target(
    item: &Value,
    fields: &Fields<'_>,
    links: &Links,
    lans: &Lans<'_>,
    report: &mut Report<'_>,
) -> Option<Target> {
    match (fields.get("link"), fields.get("network")) {
        (Some(entry), None) => {
            let given = text(&entry.value, "link", report)?;
            if let Some(member) = fields.get("member") {
                report.error_with(
                    &member.key_at,
                    "`member` goes with `network`",
                    "an end of a link is named by `end`",
                );
                return None;
            }
            let Some(link) = links.by_name.get(given).and_then(|at| links.links.get(*at)) else {
                let known: Vec<&str> =
                    links.links.iter().take(5).map(|link| link.id.as_str()).collect();
                report.error_with(
                    &entry.value.at,
                    format!("there is no link `{}`", short(given)),
                    format!(
                        "links are named by their ends, as in {}",
                        if known.is_empty() {
                            "a:eth1--b:eth1".to_owned()
                        } else {
                            known.join(", ")
                        }
                    ),
                );
                return None;
            };
            let end = match fields.get("end") {
                None => None,
                Some(entry) => {
                    let given = text(&entry.value, "end", report)?;
                    let far = has_two_ends(link) && link.far_name() == given;
                    if link.near.name() != given && !far {
                        report.error(
                            &entry.value.at,
                            format!("`{}` is no end of the link `{}`", short(given), link.id),
                        );
                        return None;
                    }
                    Some(given.to_owned())
                }
            };
            Some(Target::Link { id: link.id.clone(), end })
        }
        (None, Some(entry)) => {
            let given = text(&entry.value, "network", report)?;
            if let Some(end) = fields.get("end") {
                report.error_with(
                    &end.key_at,
                    "`end` goes with `link`",
                    "a member of a LAN is named by `member`",
                );
                return None;
            }
            let Some(network) = lans.networks.get(given) else {
                report.error(&entry.value.at, format!("there is no network `{}`", short(given)));
                return None;
            };
            let member = match fields.get("member") {
                None => None,
                Some(entry) => {
                    let given = text(&entry.value, "member", report)?;
                    match lans
                        .members
                        .get(&(network.name.as_str(), given.to_owned()))
                        .cloned()
                        .flatten()
                    {
                        Some(member) => Some(member),
                        None => {
                            report.error(
                                &entry.value.at,
                                format!(
                                    "`{}` is no one member of network `{}`",
                                    short(given),
                                    network.name
                                ),
                            );
                            return None;
                        }
                    }
                }
            };
            Some(Target::Network { name: network.name.clone(), member })
        }
        (Some(link), Some(network)) => {
            report.error_twice(
                &network.key_at,
                "an event is about a `link` or a `network`, not both",
                "the link",
                &link.key_at,
            );
            None
        }
        (None, None) => {
            report.error_with(
                &item.at,
                "the event is about nothing",
                "name a `link: \"a:eth1--b:eth1\"`, or a `network`",
            );
            None
        }
    }
}

/// Whether what comes from the far end passes a device of ours.
fn has_two_ends(link: &Link) -> bool {
    matches!(link.far, Far::Node { .. } | Far::Host { .. } | Far::Management { .. })
}

/// A time after the lab came up, in microseconds.
fn time(value: &Value, report: &mut Report<'_>) -> Option<u64> {
    let given = text(value, "at", report)?;
    let given = given.trim();
    let end = given.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(given.len());
    let (number, unit) = given.split_at(end);
    let scale = match unit.trim() {
        "us" => Some(1.0),
        "ms" => Some(1e3),
        "s" => Some(1e6),
        "m" | "min" => Some(60e6),
        "h" => Some(3600e6),
        "" => {
            if number.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
                report.warn(
                    &value.at,
                    format!(
                        "`at: {}` has no unit and is taken as {}s",
                        short(number),
                        short(number)
                    ),
                );
            }
            Some(1e6)
        }
        _ => None,
    };
    // Thirty days in microseconds are far below the whole numbers a float holds exactly.
    let time =
        scale.zip(number.parse::<f64>().ok()).map(|(scale, number)| (number * scale).round());
    match time {
        Some(time) if (0.0..=LATEST_US).contains(&time) => Some(time as u64),
        _ => {
            report.error_with(
                &value.at,
                format!("`at: {}` is no time", short(given)),
                "write it as `500ms`, `10s` or `2m`, at most 30 days",
            );
            None
        }
    }
}
