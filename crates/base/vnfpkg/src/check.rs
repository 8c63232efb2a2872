//! Checks a descriptor member by member: everything that is wrong is collected, each with its place.

use serde_json::{Map, Value};

use crate::{
    descriptor::*,
    limits::Limits,
    problem::{Code, Problem, Refused},
};

/// A descriptor, and what is odd about it without being wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    pub descriptor: Descriptor,
    pub warnings: Vec<String>,
}

/// Reads a descriptor.
///
/// # Errors
/// Everything that is wrong with it.
pub fn descriptor(bytes: &[u8], limits: &Limits) -> Result<Checked, Refused> {
    const FILE: &str = "lifecycle.json";
    if bytes.len() as u64 > limits.descriptor_bytes {
        let what = format!("larger than {} bytes", limits.descriptor_bytes);
        return Err(Problem::new(Code::Schema, what).entry(FILE).into());
    }
    let value = crate::json::parse(bytes, limits.descriptor_depth, FILE)?;
    let Value::Object(map) = value else {
        let what = "the descriptor must be an object";
        return Err(Problem::new(Code::Schema, what).entry(FILE).pointer("").into());
    };
    let mut check = Check { problems: Vec::new(), warnings: Vec::new() };
    let descriptor = check.all(&map, limits);
    if check.problems.is_empty() {
        Ok(Checked { descriptor, warnings: check.warnings })
    } else {
        Err(Refused { problems: check.problems })
    }
}

mod bounds;
mod second;
mod words;

pub use words::is_name;
use words::*;

struct Check {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

const TOP: &[&str] = &[
    "schema",
    "name",
    "VNFprocess",
    "lifecycle_event",
    "mode",
    "version",
    "vendor",
    "description",
    "type",
    "process",
    "start_command",
    "restart",
    "user",
    "group",
    "environment",
    "parameters",
    "requires",
    "provides",
    "health",
    "limits",
    "security",
    "scaling",
    "manifest",
    "signature",
    "keep_revisions",
];

impl Check {
    fn wrong(&mut self, code: Code, pointer: &str, what: impl Into<String>) {
        self.problems.push(Problem::new(code, what).entry("lifecycle.json").pointer(pointer));
    }

    fn keys(&mut self, map: &Map<String, Value>, known: &[&str], pointer: &str) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str()) && !key.starts_with("x-"))
        {
            let near = known.iter().min_by_key(|word| distance(word, key));
            let hint = near.filter(|word| distance(word, key) <= 2);
            let hint = hint.map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
            self.wrong(Code::Schema, &format!("{pointer}/{key}"), format!("an unknown key{hint}"));
        }
    }

    fn text(&mut self, map: &Map<String, Value>, key: &str, pointer: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) if !text.is_empty() && text.len() <= 255 => Some(text.clone()),
            _ => {
                self.wrong(
                    Code::Schema,
                    &format!("{pointer}/{key}"),
                    "must be a text of 1 to 255 bytes",
                );
                None
            }
        }
    }

    fn number(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        pointer: &str,
        range: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = map.get(key) else { return default };
        match value.as_u64() {
            Some(number) if range.contains(&number) => number,
            _ => {
                let what =
                    format!("must be a whole number from {} to {}", range.start(), range.end());
                self.wrong(Code::Schema, &format!("{pointer}/{key}"), what);
                default
            }
        }
    }

    fn flag(&mut self, map: &Map<String, Value>, key: &str, pointer: &str, default: bool) -> bool {
        match map.get(key) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.wrong(Code::Schema, &format!("{pointer}/{key}"), "must be true or false");
                default
            }
        }
    }

    fn word<T: serde::de::DeserializeOwned + Default>(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        pointer: &str,
        words: &str,
    ) -> T {
        let Some(value) = map.get(key) else { return T::default() };
        serde_json::from_value(value.clone()).unwrap_or_else(|_| {
            self.wrong(
                Code::Schema,
                &format!("{pointer}/{key}"),
                format!("must be one of {words}"),
            );
            T::default()
        })
    }

    fn texts(&mut self, map: &Map<String, Value>, key: &str, pointer: &str) -> Vec<String> {
        let Some(value) = map.get(key) else { return Vec::new() };
        let list = value.as_array().filter(|list| list.len() <= 256).and_then(|list| {
            list.iter()
                .map(|item| item.as_str().filter(|t| !t.contains('\0')).map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        list.unwrap_or_else(|| {
            self.wrong(
                Code::Schema,
                &format!("{pointer}/{key}"),
                "must be a list of at most 256 texts",
            );
            Vec::new()
        })
    }

    fn object<'a>(
        &mut self,
        map: &'a Map<String, Value>,
        key: &str,
        pointer: &str,
    ) -> Option<&'a Map<String, Value>> {
        match map.get(key)? {
            Value::Object(map) => Some(map),
            _ => {
                self.wrong(Code::Schema, &format!("{pointer}/{key}"), "must be an object");
                None
            }
        }
    }

    fn all(&mut self, map: &Map<String, Value>, limits: &Limits) -> Descriptor {
        let schema = match map.get("schema") {
            None => 1,
            Some(value) => match value.as_u64() {
                Some(number @ (1 | 2)) => number as u32,
                _ => {
                    self.wrong(Code::Schema, "/schema", "must be 1 or 2");
                    1
                }
            },
        };
        let mut found = Descriptor { schema, keep_revisions: 3, ..Descriptor::default() };
        match map.get("name") {
            Some(Value::String(name)) if is_name(name) => found.name.clone_from(name),
            _ => self.wrong(
                Code::Name,
                "/name",
                "must be 1 to 64 of A-Z, a-z, 0-9, and nothing else",
            ),
        }
        let named = map.get("VNFprocess").map(|value| match value {
            Value::String(name) if is_process(name) => name.clone(),
            _ => {
                self.wrong(Code::Process, "/VNFprocess", "must be the name of a process: 1 to 255 bytes without `/`, control characters, or blanks around it");
                String::new()
            }
        });
        if schema == 2 {
            self.keys(map, TOP, "");
            self.second(map, named, &mut found);
        } else {
            for key in map.keys().filter(|key| {
                !matches!(key.as_str(), "schema" | "name" | "VNFprocess" | "lifecycle_event")
            }) {
                let second =
                    if TOP.contains(&key.as_str()) { "; it needs \"schema\": 2" } else { "" };
                self.warnings.push(format!("unknown-key: `{key}` means nothing here{second}"));
            }
            match named {
                Some(name) => {
                    found.process = Some(Process { name, min_instances: 1, ..Process::default() })
                }
                None => self.wrong(
                    Code::Process,
                    "/VNFprocess",
                    "is missing: name the process to watch",
                ),
            }
        }
        self.events(map, schema, &mut found, limits);
        found
    }

    fn events(
        &mut self,
        map: &Map<String, Value>,
        schema: u32,
        found: &mut Descriptor,
        limits: &Limits,
    ) {
        let Some(Value::Array(list)) = map.get("lifecycle_event") else {
            return self.wrong(Code::Schema, "/lifecycle_event", "must be a list of objects");
        };
        if list.is_empty() {
            self.warnings.push("no-events: nothing will be run for this package".to_owned());
        }
        let mut scripts = 0;
        for (number, item) in list.iter().enumerate() {
            let pointer = format!("/lifecycle_event/{number}");
            let Value::Object(item) = item else {
                self.wrong(Code::Schema, &pointer, "must be an object");
                continue;
            };
            if schema == 2 {
                self.keys(
                    item,
                    &["event", "lifecycle_events", "timeout_s", "on_error", "background"],
                    &pointer,
                );
            }
            let event = self.event(item, &pointer);
            let default = if event == Some(Event::Instantiate) { 1800 } else { 600 };
            let (mut timeout, mut on_error) = (default, OnError::Fail);
            let mut keep = event.is_some_and(Event::keeps_background);
            if schema == 2 {
                timeout = self.number(item, "timeout_s", &pointer, 1..=86_400, default);
                on_error = self.word(item, "on_error", &pointer, "fail, continue");
                match item.get("background").map(Value::as_str) {
                    None => {}
                    Some(Some("keep")) => keep = true,
                    Some(Some("kill")) => keep = false,
                    Some(_) => self.wrong(
                        Code::Schema,
                        &format!("{pointer}/background"),
                        "must be one of keep, kill",
                    ),
                }
            }
            let Some(Value::Array(names)) = item.get("lifecycle_events") else {
                self.wrong(
                    Code::Schema,
                    &format!("{pointer}/lifecycle_events"),
                    "must be a list of names of scripts",
                );
                continue;
            };
            scripts += names.len();
            if names.len() > limits.scripts_per_event || scripts > limits.scripts {
                let what = format!(
                    "more than {} scripts of an event, or {} in all",
                    limits.scripts_per_event, limits.scripts
                );
                self.wrong(Code::Schema, &format!("{pointer}/lifecycle_events"), what);
                continue;
            }
            let mut hook = Hook { scripts: Vec::new(), keep_background: keep };
            for (at, name) in names.iter().enumerate() {
                let pointer = format!("{pointer}/lifecycle_events/{at}");
                if let Some(script) = self.script(name, schema, timeout, on_error, &pointer) {
                    hook.scripts.push(script);
                }
            }
            let Some(event) = event else { continue };
            if found.events.insert(event, hook).is_some() {
                let what = format!(
                    "{} is declared twice; put all its scripts into one object",
                    event.text()
                );
                self.wrong(Code::EventDuplicate, &format!("{pointer}/event"), what);
            }
        }
    }

    fn event(&mut self, item: &Map<String, Value>, pointer: &str) -> Option<Event> {
        let pointer = format!("{pointer}/event");
        let text = item.get("event").and_then(Value::as_str);
        let event = text.and_then(Event::named);
        if event.is_none() {
            let upper = text.map(str::to_uppercase).filter(|upper| Event::named(upper).is_some());
            let what = match upper {
                Some(upper) => format!("no event; write {upper}"),
                None => "no event; events are INSTANTIATE, CONFIGURE, START, STOP, TERMINATE, REMOVE, SCALE, HEAL, UPDATE, ROLLBACK, HEALTH, TEST".to_owned(),
            };
            self.wrong(Code::Event, &pointer, what);
        }
        event
    }

    fn script(
        &mut self,
        value: &Value,
        schema: u32,
        timeout_s: u64,
        on_error: OnError,
        pointer: &str,
    ) -> Option<Script> {
        let mut script = Script {
            path: String::new(),
            args: Vec::new(),
            timeout_s,
            user: None,
            retries: 0,
            retry_delay_ms: 1000,
            on_error,
            idempotent: None,
        };
        let (text, at) = match value {
            Value::String(text) => (Some(text.as_str()), pointer.to_owned()),
            Value::Object(map) if schema == 2 => {
                self.keys(
                    map,
                    &[
                        "script",
                        "args",
                        "timeout_s",
                        "user",
                        "retries",
                        "retry_delay_ms",
                        "on_error",
                        "idempotent",
                    ],
                    pointer,
                );
                script.args = self.texts(map, "args", pointer);
                script.timeout_s = self.number(map, "timeout_s", pointer, 1..=86_400, timeout_s);
                script.user = self.text(map, "user", pointer);
                script.retries = self.number(map, "retries", pointer, 0..=10, 0) as u32;
                script.retry_delay_ms =
                    self.number(map, "retry_delay_ms", pointer, 0..=3_600_000, 1000);
                if map.contains_key("on_error") {
                    script.on_error = self.word(map, "on_error", pointer, "fail, continue");
                }
                if map.contains_key("idempotent") {
                    script.idempotent = Some(self.flag(map, "idempotent", pointer, false));
                }
                if script.runs_once() && script.retries > 0 {
                    let what = "a script that is not idempotent is not tried again by itself; leave retries out";
                    self.wrong(Code::Schema, &format!("{pointer}/retries"), what);
                }
                (map.get("script").and_then(Value::as_str), format!("{pointer}/script"))
            }
            _ => (None, pointer.to_owned()),
        };
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            self.wrong(Code::Schema, &at, "must be the name of a script in the package");
            return None;
        };
        let climbs = text.split('/').any(|part| part.is_empty() || part == "..");
        if climbs || text.chars().any(char::is_control) || text.contains('\\') {
            self.wrong(
                Code::ScriptPath,
                &at,
                format!("`{}` is no path inside the package", text.escape_debug()),
            );
            return None;
        }
        script.path = text.strip_prefix("./").unwrap_or(text).to_owned();
        Some(script)
    }
}
