//! What a node may use and do, and how its health is asked for.

use std::collections::HashMap;

use crate::keys;
use crate::model::{Health, HealthTest, Node, PidMode, Resources};
use crate::parse::binds;
use crate::parse::fields::{Fields, boolean, bytes, count, short, text, texts};
use crate::parse::layers::Layers;
use crate::report::{At, Report};
use crate::yaml::Entry;

pub(super) fn limits(node: &mut Node, layers: &Layers<'_, '_>, report: &mut Report<'_>) {
    let mut limits = Resources::default();
    // Of `resources`, each key is taken from the most specific layer that has it.
    let mut ours: HashMap<&'static str, &Entry> = HashMap::new();
    for layer in layers.every("resources") {
        let fields = Fields::read(&layer.value, "`resources`", keys::RESOURCES, report);
        for (name, entry) in fields.names() {
            if !entry.value.is_null() {
                ours.entry(name).or_insert(entry);
            }
        }
    }
    let both =
        |name: &'static str, report: &mut Report<'_>| match (layers.one(name), ours.get(name)) {
            (Some(plain), Some(ours)) if !plain.value.same(&ours.value) => {
                report.error_twice(
                    &ours.key_at,
                    format!("`{name}` and `resources.{name}` differ"),
                    format!("`{name}` given here"),
                    &plain.key_at,
                );
                None
            }
            (Some(entry), _) => Some(entry),
            (None, ours) => ours.copied(),
        };
    let memory = both("memory", report);
    let cpu = both("cpu", report);
    let cpu_set = both("cpu-set", report);
    limits.memory_bytes = memory.and_then(|entry| bytes(&entry.value, "memory", report));
    limits.cpu = cpu.and_then(|entry| {
        let given = text(&entry.value, "cpu", report)?;
        match given.parse::<f64>() {
            Ok(cpu) if cpu > 0.0 && cpu <= 8192.0 => Some(cpu),
            // Containerlab takes zero for no limit.
            Ok(0.0) => None,
            _ => {
                report.error(
                    &entry.value.at,
                    format!("`cpu` is a number of processors, not `{}`", short(given)),
                );
                None
            }
        }
    });
    limits.cpu_set = cpu_set.and_then(|entry| {
        let given = text(&entry.value, "cpu-set", report)?;
        if binds::is_cpu_set(given) {
            return Some(given.to_owned());
        }
        report.error(
            &entry.value.at,
            format!("`cpu-set` is a list such as `0-2,4`, not `{}`", short(given)),
        );
        None
    });
    let mut size = |name: &str| ours.get(name).and_then(|entry| bytes(&entry.value, name, report));
    limits.memory_high_bytes = size("memory-high");
    limits.swap_bytes = size("swap");
    limits.cpu_weight = ours
        .get("cpu-weight")
        .and_then(|entry| count(&entry.value, "cpu-weight", 1..=10_000, report))
        .and_then(|weight| u32::try_from(weight).ok());
    limits.pids =
        ours.get("pids").and_then(|entry| count(&entry.value, "pids", 1..=4_194_304, report));
    node.resources = limits;
    node.shm_size_bytes =
        layers.one("shm-size").and_then(|entry| bytes(&entry.value, "shm-size", report));
}

/// Reads what a node may do; gives the place of its `pid-mode`.
pub(super) fn rights(
    node: &mut Node,
    layers: &Layers<'_, '_>,
    report: &mut Report<'_>,
) -> Option<At> {
    for (given, at) in layers.joined("cap-add", report) {
        let upper = given.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            report.error(&at, format!("`{}` is no capability", short(given)));
        } else if !node.cap_add.iter().any(|have| have == name) {
            node.cap_add.push(name.to_owned());
        }
    }
    if let Some(entry) = layers.one("privileged") {
        node.privileged = boolean(&entry.value, "privileged", report).unwrap_or(false);
    }
    if let Some((mode, at)) = layers.text("cgroupns-mode", report) {
        if matches!(mode, "host" | "private") {
            node.cgroupns_mode = Some(mode.to_owned());
        } else {
            report.error(&at, format!("`cgroupns-mode` is host or private, not `{}`", short(mode)));
        }
    }
    let mut processes = None;
    if let Some((mode, at)) = layers.text("pid-mode", report) {
        node.pid_mode = match (mode, mode.strip_prefix("container:")) {
            ("host", _) => Some(PidMode::Host),
            (_, Some(name)) if !name.is_empty() => Some(PidMode::Container(name.to_owned())),
            _ => {
                report.error(
                    &at,
                    format!("`pid-mode` is host or container:<node>, not `{}`", short(mode)),
                );
                None
            }
        };
        processes = Some(at);
    }
    let options = layers.list("security-opts", report);
    node.security_opts = options.into_iter().map(|(option, _)| option.to_owned()).collect();
    processes
}

pub(super) fn health(entry: &Entry, report: &mut Report<'_>) -> Option<Health> {
    let fields = Fields::read(&entry.value, "`healthcheck`", keys::HEALTH, report);
    let mut seconds = |name: &str, default: u32, least: u64| {
        fields
            .get(name)
            .and_then(|entry| count(&entry.value, name, least..=86_400, report))
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(default)
    };
    let (start_period_s, interval_s) = (seconds("start-period", 0, 0), seconds("interval", 30, 1));
    let (timeout_s, retries) = (seconds("timeout", 30, 1), seconds("retries", 3, 1));
    let Some(list) = fields.get("test") else {
        report.error(&entry.value.at, "`healthcheck` has no `test`");
        return None;
    };
    let words = texts(&list.value, "test", report);
    let rest = |words: &[(&str, At)]| -> Vec<String> {
        words.iter().skip(1).map(|(word, _)| (*word).to_owned()).collect()
    };
    let test = match words.first() {
        Some(("NONE", _)) => HealthTest::None,
        Some(("CMD", _)) if words.len() > 1 => HealthTest::Command(rest(&words)),
        Some(("CMD-SHELL", _)) if words.len() > 1 => HealthTest::Shell(rest(&words).join(" ")),
        _ => {
            report.error_with(
                &list.value.at,
                "`test` begins with CMD or CMD-SHELL, then has the command",
                "write `test: [CMD-SHELL, \"cat /etc/os-release\"]`",
            );
            return None;
        }
    };
    Some(Health { test, start_period_s, interval_s, timeout_s, retries })
}
