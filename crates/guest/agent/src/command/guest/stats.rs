//! guest-get-cpustats, guest-get-diskstats, guest-get-load.

use serde_json::{Map, Value, json};

use super::{Args, CommandError, Guest, read_text};
use crate::context::Context;

/// Ticks of a second in what the kernel shows (USER_HZ): the same on every architecture but Alpha and IA-64.
const TICKS: u64 = 100;

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-get-cpustats", cpustats),
        Guest::now("guest-get-diskstats", diskstats),
        Guest::now("guest-get-load", load),
    ]
}

fn text_of(context: &Context, path: &str) -> Result<String, CommandError> {
    read_text(context, path)
        .ok_or_else(|| CommandError::failed(format!("cannot read {path}; is /proc mounted?")))
}

fn cpustats(context: &Context, args: Args) -> Result<Value, CommandError> {
    const FIELDS: [&str; 10] = [
        "user",
        "nice",
        "system",
        "idle",
        "iowait",
        "irq",
        "softirq",
        "steal",
        "guest",
        "guestnice",
    ];
    args.finish()?;
    let text = text_of(context, "/proc/stat")?;
    let cpu = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let number: i64 = words.next()?.strip_prefix("cpu")?.parse().ok()?;
        let mut members = Map::new();
        members.insert("type".to_owned(), "linux".into());
        members.insert("cpu".to_owned(), number.into());
        for (field, word) in FIELDS.iter().zip(words) {
            let ticks_spent: u64 = word.parse().ok()?;
            let milliseconds = ticks_spent.saturating_mul(1000) / TICKS;
            members.insert((*field).to_owned(), milliseconds.into());
        }
        Some(Value::Object(members))
    };
    Ok(text.lines().filter_map(cpu).collect())
}

fn diskstats(context: &Context, args: Args) -> Result<Value, CommandError> {
    // The order of the kernel's columns (Documentation/admin-guide/iostats.rst).
    const FIELDS: [&str; 17] = [
        "read-ios",
        "read-merges",
        "read-sectors",
        "read-ticks",
        "write-ios",
        "write-merges",
        "write-sectors",
        "write-ticks",
        "ios-pgr",
        "total-ticks",
        "weight-ticks",
        "discard-ios",
        "discard-merges",
        "discard-sectors",
        "discard-ticks",
        "flush-ios",
        "flush-ticks",
    ];
    args.finish()?;
    let text = text_of(context, "/proc/diskstats")?;
    let disk = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) =
            (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
        let name = words.next()?;
        let stats: Map<String, Value> = FIELDS
            .iter()
            .zip(words)
            .filter_map(|(field, word)| {
                Some(((*field).to_owned(), word.parse::<u64>().ok()?.into()))
            })
            .collect();
        Some(json!({ "name": name, "major": major, "minor": minor, "stats": stats }))
    };
    Ok(text.lines().filter_map(disk).collect())
}

fn load(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let text = text_of(context, "/proc/loadavg")?;
    let mut loads = text.split_ascii_whitespace().map(|word| word.parse::<f64>().ok());
    let mut next = || loads.next().flatten();
    match (next(), next(), next()) {
        (Some(one), Some(five), Some(fifteen)) => {
            Ok(json!({ "load1m": one, "load5m": five, "load15m": fifteen }))
        }
        _ => Err(CommandError::failed("/proc/loadavg is not as expected")),
    }
}
