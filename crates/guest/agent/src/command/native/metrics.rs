//! metrics: load, memory, processors, file systems, as the kernel counts them.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::failed;
use crate::{
    command::{Command, CommandError, Form},
    context::Context,
};

/// Largest file of /proc that is read, bytes.
const FILE_BYTES: u64 = 1 << 20;
/// Most file systems that are listed.
const MOUNTS: usize = 128;

/// Tells figures.
#[derive(Debug)]
pub(super) struct Metrics;

impl Command for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async {
            let text = |name: &str| {
                context
                    .root()
                    .read_to_limit(name, FILE_BYTES)
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .map_err(|error| failed(&format!("read `/{name}`"), error))
            };
            // Each part that cannot be had is left out; the rest is answered.
            let mut metrics = Map::new();
            let mut missing = Vec::new();
            let mut add = |name: &str, part: Result<Value, CommandError>| match part {
                Ok(value) => drop(metrics.insert(name.to_owned(), value)),
                Err(error) => missing.push(json!({"part": name, "why": error.to_string()})),
            };
            add("load", text("proc/loadavg").map(|text| load(&text)));
            add("uptime_s", text("proc/uptime").map(|text| first_number(&text)));
            add("memory", text("proc/meminfo").map(|text| memory(&text)));
            add("processors", text("proc/stat").map(|text| processors(&text)));
            add("file_systems", text("proc/self/mounts").map(|text| file_systems(context, &text)));
            if !missing.is_empty() {
                metrics.insert("missing".to_owned(), missing.into());
            }
            Ok(Value::Object(metrics))
        })
    }
}

fn first_number(text: &str) -> Value {
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse::<f64>().ok())
        .map_or(Value::Null, Value::from)
}

fn load(text: &str) -> Value {
    let mut words = text.split_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
    let (one, five, fifteen) = (number(), number(), number());
    let tasks = words.next().and_then(|word| word.split_once('/'));
    let tasks = tasks.map(|(running, all)| (running.parse::<u64>().ok(), all.parse::<u64>().ok()));
    let (running, all) = tasks.unwrap_or_default();
    json!({"1m": one, "5m": five, "15m": fifteen, "running": running, "tasks": all})
}

fn memory(text: &str) -> Value {
    let mut values = Map::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let key = match name {
            "MemTotal" => "total_bytes",
            "MemFree" => "free_bytes",
            "MemAvailable" => "available_bytes",
            "Buffers" => "buffers_bytes",
            "Cached" => "cached_bytes",
            "SwapTotal" => "swap_total_bytes",
            "SwapFree" => "swap_free_bytes",
            _ => continue,
        };
        if let Some(kib) = rest.split_whitespace().next().and_then(|word| word.parse::<u64>().ok())
        {
            values.insert(key.to_owned(), (kib * 1024).into());
        }
    }
    Value::Object(values)
}

/// Times in milliseconds; the kernel counts in hundredths of a second on every architecture.
fn processors(text: &str) -> Value {
    const NAMES: [&str; 8] = [
        "user_ms",
        "nice_ms",
        "system_ms",
        "idle_ms",
        "iowait_ms",
        "irq_ms",
        "softirq_ms",
        "steal_ms",
    ];
    let lines = text.lines().filter(|line| line.starts_with("cpu")).skip(1);
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let number = words.next().and_then(|name| name[3..].parse::<u64>().ok());
            let mut values = Map::new();
            values.insert("number".to_owned(), number.into());
            for (name, word) in NAMES.iter().zip(words) {
                if let Ok(ticks) = word.parse::<u64>() {
                    values.insert((*name).to_owned(), (ticks * 10).into());
                }
            }
            Value::Object(values)
        })
        .collect()
}

/// Those on block devices, each device once.
fn file_systems(context: &Context, text: &str) -> Value {
    let mut seen = BTreeSet::new();
    let mut list = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(folder), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if !device.starts_with('/') || !seen.insert(device) || list.len() == MOUNTS {
            continue;
        }
        let folder = unescape(folder);
        let Ok(dir) = context.root().open_dir(&folder) else { continue };
        let Ok(stat) = rustix::fs::fstatvfs(&dir) else { continue };
        list.push(json!({
            "device": unescape(device),
            "folder": folder,
            "type": kind,
            "total_bytes": stat.f_blocks * stat.f_frsize,
            "free_bytes": stat.f_bfree * stat.f_frsize,
            "available_bytes": stat.f_bavail * stat.f_frsize,
            "files": stat.f_files,
            "files_free": stat.f_ffree,
        }));
    }
    list.into()
}

/// The kernel writes blanks in mount tables as `\040`.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'\\'
            && let Some(digits) = after.get(..3)
            && let Ok(digits) = std::str::from_utf8(digits)
            && let Ok(byte) = u8::from_str_radix(digits, 8)
        {
            plain.push(byte);
            rest = &after[3..];
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        assert_eq!(
            load("0.50 1.00 2.25 3/400 999\n"),
            json!({"1m": 0.5, "5m": 1.0, "15m": 2.25, "running": 3, "tasks": 400})
        );
        assert_eq!(memory("MemTotal: 10 kB\nOther: 1 kB\nbad\n"), json!({"total_bytes": 10240}));
        let stat = "cpu 1 2 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n";
        assert_eq!(processors(stat)[0]["steal_ms"], 80);
        assert_eq!(unescape(r"/mnt/a\040b\134"), r"/mnt/a b\");
    }
}
