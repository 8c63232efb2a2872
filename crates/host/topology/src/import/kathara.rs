//! Kathará's (and Netkit's) `lab.conf`: a line for each interface and option, and what lies beside it: `NODE.startup`, the
//! folder `NODE`, `shared.startup` and the folder `shared`.
//!
//! A collision domain is a LAN, a link when it has two interfaces. Kathará's devices have no interface but those of the
//! file, so eth0 is one of the lab's: the nodes are not on the control network, unless they are `bridged`.

use std::collections::{BTreeMap, HashMap};

use super::Beside;
use super::draft::{Draft, End, Map, Wire, put};
use crate::emit::Yaml;
use crate::model::Mac;
use crate::parse::{is_name, short};
use crate::report::{At, Report};

/// Longest line, bytes.
const LONGEST: usize = 65_536;
/// Where Kathará's own devices find the files of the lab.
const FILES: &str = "/hostlab";
/// Port of the device that a bare `port` leads to.
const PORT: u16 = 3000;

/// Options that a device may have many of.
const MANY: &[&str] = &["exec", "port", "volume", "sysctl", "env", "ulimit"];

/// One `device[argument]=value`.
struct Line<'t> {
    device: &'t str,
    device_at: At,
    argument: &'t str,
    argument_at: At,
    value: &'t str,
    value_at: At,
}

/// Collision domains in the order of the file, and the number of each.
#[derive(Default)]
struct Domains {
    wires: Vec<Wire>,
    numbers: HashMap<String, usize>,
}

/// What the lines say of one device.
#[derive(Default)]
struct Device {
    at: At,
    /// Options that take one value, with their places.
    given: HashMap<String, At>,
    image: Option<String>,
    memory: Option<String>,
    cpus: Option<String>,
    shell: Option<String>,
    user_lists: BTreeMap<&'static str, Vec<String>>,
    sysctls: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    entrypoint: Option<String>,
    command: Option<String>,
    privileged: bool,
    bridged: Option<At>,
}

/// Reads a `lab.conf`.
pub(super) fn read(
    text: &str,
    beside: &dyn Fn(&str) -> Option<Beside>,
    report: &mut Report<'_>,
) -> Draft {
    let mut draft = Draft::default();
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    let mut domains = Domains::default();
    let mut start = 0;
    for raw in text.split_inclusive('\n') {
        let at = start..start + raw.trim_end().len();
        start += raw.len();
        if at.len() > LONGEST {
            report.error(&(at.start..at.start + 1), "the line is longer than 64 KiB");
            continue;
        }
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let begin = at.start + (raw.len() - raw.trim_start().len());
        if let Some((key, value)) = line.split_once('=').filter(|(key, _)| key.starts_with("LAB_"))
        {
            if key == "LAB_NAME" {
                let name: String = unquoted(value).0.trim().replace(' ', "-");
                if is_name(&name, 64) {
                    draft.name = Some(name);
                }
            }
            continue;
        }
        let Some(line) = split(line, begin) else {
            report.error_with(
                &(begin..at.end.max(begin + 1)),
                format!("`{}` is no line of a lab.conf", short(line)),
                "write `device[0]=\"A\"`, `device[image]=\"...\"`, `LAB_...=...` or `# a comment`",
            );
            continue;
        };
        let known = draft.has(line.device);
        if !known && draft.node(line.device, &line.device_at, report).is_none() {
            continue;
        }
        let device = devices
            .entry(line.device.to_owned())
            .or_insert_with(|| Device { at: line.device_at.clone(), ..Device::default() });
        if line.argument.bytes().all(|b| b.is_ascii_digit()) {
            interface(&line, &mut domains, &mut draft, report);
        } else {
            option(&line, device, report);
        }
    }
    draft.wires = domains.wires;
    for (name, device) in devices {
        finish(&name, device, beside, &mut draft, report);
    }
    draft
}

/// Takes a line apart; `offset` is where it begins in the file.
fn split(line: &str, offset: usize) -> Option<Line<'_>> {
    let open = line.find('[')?;
    let close = open + line[open..].find(']')?;
    let (device, argument) = (&line[..open], &line[open + 1..close]);
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let rest = line[close + 1..].strip_prefix('=')?;
    let device_is_good = !device.is_empty() && !device.contains(char::is_whitespace);
    if !device_is_good || !word(argument) {
        return None;
    }
    let (value, skipped) = unquoted(rest);
    let from = offset + close + 2 + skipped;
    Some(Line {
        device,
        device_at: offset..offset + open,
        argument,
        argument_at: offset + open + 1..offset + close,
        value,
        value_at: from..from + value.len().max(1),
    })
}

/// A value without its quotes and what follows them, or without a comment; and how many bytes stand before it.
fn unquoted(text: &str) -> (&str, usize) {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            return (rest.split(quote).next().unwrap_or(rest), 1);
        }
    }
    (text.split(" #").next().unwrap_or(text).trim_end(), 0)
}

/// `device[1]="DOMAIN"`, or with an Ethernet address behind a slash.
fn interface(line: &Line<'_>, domains: &mut Domains, draft: &mut Draft, report: &mut Report<'_>) {
    let (domain, mac) = match line.value.split_once('/') {
        Some((domain, mac)) => (domain, Some(mac)),
        None => (line.value, None),
    };
    let good = !domain.is_empty() && domain.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !good {
        report.error_with(
            &line.value_at,
            format!("`{}` is no collision domain", short(domain)),
            "letters, digits and `_`",
        );
        return;
    }
    let number = line.argument.trim_start_matches('0');
    let interface = format!("eth{}", if number.is_empty() { "0" } else { number });
    if number.len() > 4 {
        report.error(
            &line.argument_at,
            format!("`{}` is no number of an interface", short(line.argument)),
        );
        return;
    }
    let mut end = End { node: line.device.to_owned(), interface, ..End::default() };
    if let Some(mac) = mac {
        end.mac = Mac::parse(mac).filter(|mac| !mac.is_group() && *mac != Mac([0; 6]));
        if end.mac.is_none() {
            let text = format!("`{}` is no Ethernet address of an interface", short(mac));
            report.error(&line.value_at, text);
        }
    }
    if !draft.take(&end.node, &end.interface, &line.argument_at, report) {
        return;
    }
    let next = domains.wires.len();
    let number = *domains.numbers.entry(domain.to_owned()).or_insert(next);
    if number == next {
        domains.wires.push(Wire { name: domain.to_owned(), ..Wire::default() });
    }
    domains.wires[number].ends.push(end);
}

/// `device[option]=value`.
fn option(line: &Line<'_>, device: &mut Device, report: &mut Report<'_>) {
    let value = line.value.to_owned();
    let wrong = |report: &mut Report<'_>, what: &str| {
        let text = format!("`{}` is no {what}", short(line.value));
        report.error(&line.value_at, text);
    };
    let yes = matches!(line.value.to_ascii_lowercase().as_str(), "true" | "yes" | "1" | "on");
    let pair = |report: &mut Report<'_>| match line.value.split_once('=') {
        Some((key, value)) => Some((key.to_owned(), value.to_owned())),
        None => {
            wrong(report, "`name=value`");
            None
        }
    };
    if !MANY.contains(&line.argument)
        && let Some(first) = device.given.insert(line.argument.to_owned(), line.argument_at.clone())
    {
        let text = format!("`{}` of `{}` is given twice", short(line.argument), line.device);
        report.error_twice(&line.argument_at, text, "first here", &first);
        return;
    }
    match line.argument {
        "image" => device.image = Some(value),
        "mem" => match memory(line.value) {
            Some(memory) => device.memory = Some(memory),
            None => wrong(report, "size such as `128m`"),
        },
        "cpus" if line.value.parse::<f64>().is_ok_and(|cpus| cpus > 0.0 && cpus < 1e4) => {
            device.cpus = Some(value);
        }
        "cpus" => wrong(report, "number of processors"),
        "exec" => device.user_lists.entry("exec").or_default().push(value),
        "port" => match port(line.value) {
            Some(port) => device.user_lists.entry("ports").or_default().push(port),
            None => wrong(report, "port such as `8080:80/tcp`"),
        },
        "volume" => {
            let parts: Vec<&str> = line.value.split('|').collect();
            match parts.as_slice() {
                [host, node] | [host, node, "rw"] => {
                    device.user_lists.entry("binds").or_default().push(format!("{host}:{node}"));
                }
                [host, node, "ro"] => {
                    device.user_lists.entry("binds").or_default().push(format!("{host}:{node}:ro"));
                }
                _ => wrong(report, "volume such as `path|path in the device|ro`"),
            }
        }
        "sysctl" => device.sysctls.extend(pair(report)),
        "env" => device.env.extend(pair(report)),
        "shell" => device.shell = Some(value),
        "entrypoint" => device.entrypoint = Some(value),
        "args" => device.command = Some(value),
        "privileged" => device.privileged = yes,
        "bridged" => device.bridged = yes.then(|| line.argument_at.clone()),
        "ipv6" => {
            // Every node has IPv6; Kathará's have it when they say so.
            if !yes {
                device.sysctls.insert("net.ipv6.conf.all.disable_ipv6".into(), "1".into());
            }
        }
        other => {
            let text = format!("`{}` of `{}` is not mapped", short(other), line.device);
            report.warn(&line.argument_at, text);
        }
    }
}

/// Docker's sizes, whose letters are powers of 1024.
fn memory(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..end].parse().ok().filter(|number| *number > 0)?;
    let unit = match text[end..].to_ascii_lowercase().as_str() {
        "b" => "b",
        "k" | "kb" => "KiB",
        "m" | "mb" => "MiB",
        "g" | "gb" => "GiB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// `32000`, `32000:80` or `32000:80/udp`.
fn port(text: &str) -> Option<String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (host, node) = match ports.split_once(':') {
        Some((host, node)) => (host.parse::<u16>().ok()?, node.parse::<u16>().ok()?),
        None => (ports.parse::<u16>().ok()?, PORT),
    };
    let good = host > 0 && node > 0 && matches!(protocol, "tcp" | "udp");
    good.then(|| format!("{host}:{node}/{protocol}"))
}

/// Writes a device, with what lies beside the file, in the order Kathará goes by: its folder, the shared script, its own
/// script, its commands.
fn finish(
    name: &str,
    device: Device,
    beside: &dyn Fn(&str) -> Option<Beside>,
    draft: &mut Draft,
    report: &mut Report<'_>,
) {
    let mut lists = device.user_lists;
    let (mut binds, mut exec) = (Vec::new(), Vec::new());
    let shell = device.shell.as_deref().unwrap_or("sh");
    if beside(name) == Some(Beside::Folder) {
        binds.push(format!("./{name}:{FILES}/{name}:ro"));
        exec.push(format!("cp -R {FILES}/{name}/. /"));
    }
    if beside("shared") == Some(Beside::Folder) {
        binds.push("./shared:/shared".to_owned());
    }
    for script in ["shared.startup".to_owned(), format!("{name}.startup")] {
        if beside(&script) == Some(Beside::File) {
            binds.push(format!("./{script}:{FILES}/{script}:ro"));
            exec.push(format!("{shell} {FILES}/{script}"));
        }
    }
    if beside(&format!("{name}.shutdown")).is_some() {
        report.warn(&device.at, format!("the file `{name}.shutdown` is not mapped"));
    }
    binds.extend(lists.remove("binds").unwrap_or_default());
    let said = lists.remove("exec").unwrap_or_default();
    exec.extend(said.into_iter().map(|line| shell_line(shell, &line)));
    let managed = device.bridged.filter(|at| {
        let free = !draft.uses(name, "eth0");
        if !free {
            report.warn_with(
                at,
                format!("`bridged` of `{name}` is not mapped"),
                "the way out of the lab is eth0, which is an interface of the file's: number those from 1",
            );
        }
        free
    });
    let Some(map) = draft.keys(name) else { return };
    let text = |map: &mut Map, key: &str, value: Option<String>| {
        if let Some(value) = value {
            put(map, key, Yaml::text(value));
        }
    };
    text(map, "image", device.image);
    text(map, "entrypoint", device.entrypoint);
    text(map, "cmd", device.command);
    text(map, "memory", device.memory);
    if let Some(cpus) = device.cpus {
        put(map, "cpu", Yaml::bare(cpus));
    }
    if managed.is_none() {
        text(map, "network-mode", Some("none".to_owned()));
    }
    if device.privileged {
        put(map, "privileged", Yaml::bare(true));
    }
    for (key, words) in [("env", device.env), ("sysctls", device.sysctls)] {
        if !words.is_empty() {
            let words = words.into_iter().map(|(key, value)| (key, Yaml::text(value)));
            put(map, key, Yaml::Map(words.collect()));
        }
    }
    for (key, items) in
        [("binds", binds), ("exec", exec), ("ports", lists.remove("ports").unwrap_or_default())]
    {
        if !items.is_empty() {
            put(map, key, Yaml::texts(items));
        }
    }
}

/// A line for the device's shell as one command: our own `exec` runs programs, no shell.
fn shell_line(shell: &str, line: &str) -> String {
    format!("{shell} -c '{}'", line.replace('\'', "'\\''"))
}
