//! Checks a descriptor member by member: everything that is wrong is collected, each with its place.

use std::collections::BTreeMap;

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

    fn second(&mut self, map: &Map<String, Value>, named: Option<String>, found: &mut Descriptor) {
        found.mode = self.word(map, "mode", "", "watch, managed");
        found.version = map.get("version").and_then(|value| {
            let text = value.as_str().filter(|text| semver::Version::parse(text).is_ok());
            if text.is_none() {
                self.wrong(Code::Version, "/version", "must be a semantic version such as 1.4.0");
            }
            text.map(str::to_owned)
        });
        found.vendor = self.text(map, "vendor", "");
        found.description = self.text(map, "description", "");
        found.kind = self.text(map, "type", "");
        found.user = self.text(map, "user", "");
        found.group = self.text(map, "group", "");
        found.signature = self.text(map, "signature", "");
        found.keep_revisions = self.number(map, "keep_revisions", "", 0..=20, 3) as u32;
        found.start_command = self.texts(map, "start_command", "");
        found.provides = self.texts(map, "provides", "");
        found.plain_parameters =
            map.get("x-openbaton-env").is_some_and(|value| *value == Value::Bool(true));
        self.process(map, named, found);
        self.restart(map, found);
        self.environment(map, found);
        self.parameters(map, found);
        self.requires(map, found);
        self.health(map, found);
        self.limits(map, found);
        self.scaling(map, found);
        self.manifest(map, found);
    }

    fn process(&mut self, map: &Map<String, Value>, named: Option<String>, found: &mut Descriptor) {
        let mut process = Process {
            name: named.clone().unwrap_or_default(),
            min_instances: 1,
            ..Process::default()
        };
        if let Some(map) = self.object(map, "process", "") {
            let at = "/process";
            self.keys(
                map,
                &[
                    "name",
                    "by",
                    "args",
                    "user",
                    "min_instances",
                    "appear_ms",
                    "gone_ms",
                    "already_running",
                    "on_replace",
                    "after_reboot",
                    "flap",
                ],
                at,
            );
            process.by = self.word(map, "by", at, "name, comm, argv0, exe, pidfile, pgrep");
            if let Some(name) = self.text(map, "name", at) {
                let path = matches!(process.by, By::Exe | By::Pidfile);
                if (path && name.starts_with('/')) || (!path && is_process(&name)) {
                    process.name = name;
                } else {
                    let what = if path {
                        "must be an absolute path"
                    } else {
                        "must be the name of a process"
                    };
                    self.wrong(Code::Process, "/process/name", what);
                }
            }
            process.args = self.texts(map, "args", at);
            process.user = self.text(map, "user", at);
            process.min_instances = self.number(map, "min_instances", at, 1..=1000, 1) as u32;
            process.appear_ms = self.number(map, "appear_ms", at, 0..=600_000, 0);
            process.gone_ms = self.number(map, "gone_ms", at, 0..=600_000, 0);
            process.already_running = self.word(map, "already_running", at, "adopt, start");
            process.on_replace = self.word(map, "on_replace", at, "cycle, ignore");
            process.after_reboot = self.word(map, "after_reboot", at, "run, reset");
            if let Some(map) = self.object(map, "flap", at) {
                let at = "/process/flap";
                self.keys(map, &["transitions", "window_s", "hold_s"], at);
                process.flap.transitions = self.number(map, "transitions", at, 2..=1000, 6) as u32;
                process.flap.window_s = self.number(map, "window_s", at, 1..=86_400, 60);
                process.flap.hold_s = self.number(map, "hold_s", at, 0..=86_400, 30);
            }
        }
        if process.name.is_empty() {
            if named.is_none() && found.mode == Mode::Watch && !map.contains_key("process") {
                self.wrong(Code::Process, "/VNFprocess", "is missing: name the process to watch");
            } else if found.mode == Mode::Watch && self.problems.is_empty() {
                self.wrong(Code::Process, "/process/name", "is missing: name the process to watch");
            }
        } else {
            found.process = Some(process);
        }
    }

    fn restart(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "restart", "") else { return };
        let at = "/restart";
        self.keys(
            inner,
            &["policy", "delay_ms", "max_delay_ms", "factor", "max_attempts", "window_s"],
            at,
        );
        found.restart = Restart {
            policy: self.word(inner, "policy", at, "never, on-failure, always"),
            delay_ms: self.number(inner, "delay_ms", at, 1..=3_600_000, 1000),
            max_delay_ms: self.number(inner, "max_delay_ms", at, 1..=3_600_000, 60_000),
            factor: self.number(inner, "factor", at, 1..=100, 2) as u32,
            max_attempts: self.number(inner, "max_attempts", at, 1..=1000, 5) as u32,
            window_s: self.number(inner, "window_s", at, 1..=86_400, 300),
        };
        let can = !found.start_command.is_empty()
            || (found.mode == Mode::Managed && has_event(map, "START"));
        if found.restart.policy != RestartPolicy::Never && !can {
            self.wrong(
                Code::Schema,
                at,
                "needs start_command, or mode managed with a START script",
            );
        }
    }

    fn environment(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "environment", "") else { return };
        let mut total = 0;
        for (name, value) in inner {
            let at = format!("/environment/{name}");
            let Value::String(value) = value else {
                self.wrong(Code::Env, &at, "must be a text");
                continue;
            };
            total += value.len();
            if !is_variable(name) {
                self.wrong(
                    Code::Env,
                    &at,
                    "no name of a variable: letters, digits and `_`, at most 64",
                );
            } else if is_reserved(name) {
                self.wrong(Code::Env, &at, "this variable is not for packages to set");
            } else if value.len() > 32 << 10 || total > 128 << 10 || value.contains('\0') {
                self.wrong(
                    Code::Env,
                    &at,
                    "at most 32 KiB each and 128 KiB in all, without zero bytes",
                );
            }
            found.environment.insert(name.clone(), value.clone());
        }
    }

    fn parameters(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "parameters", "") else { return };
        for (name, value) in inner {
            let at = format!("/parameters/{name}");
            let Value::Object(value) = value else {
                self.wrong(Code::Schema, &at, "must be an object");
                continue;
            };
            if !is_variable(name) {
                self.wrong(
                    Code::Schema,
                    &at,
                    "a parameter is named with letters, digits and `_`, at most 64",
                );
            }
            self.keys(value, &["type", "default", "required", "secret"], &at);
            let default = value.get("default").map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let parameter = Parameter {
                kind: self.word(value, "type", &at, "string, integer, number, boolean"),
                default,
                required: self.flag(value, "required", &at, false),
                secret: self.flag(value, "secret", &at, false),
            };
            found.parameters.insert(name.clone(), parameter);
        }
    }

    fn requires(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "requires", "") else { return };
        for (name, value) in inner {
            let at = format!("/requires/{name}");
            let Value::Object(value) = value else {
                self.wrong(Code::Schema, &at, "must be an object");
                continue;
            };
            self.keys(value, &["version", "parameters"], &at);
            let version = self.text(value, "version", &at);
            if version.as_deref().is_some_and(|range| semver::VersionReq::parse(range).is_err()) {
                self.wrong(
                    Code::Version,
                    &format!("{at}/version"),
                    "must be a range of versions such as >=1.2, <2",
                );
            }
            if *name == found.name || found.kind.as_ref() == Some(name) {
                self.wrong(Code::Cycle, &at, "the package requires itself");
            }
            let require = Require { version, parameters: self.texts(value, "parameters", &at) };
            found.requires.insert(name.clone(), require);
        }
    }

    fn health(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "health", "") else { return };
        let at = "/health";
        self.keys(
            inner,
            &[
                "kind",
                "target",
                "interval_s",
                "timeout_s",
                "start_period_s",
                "fail_after",
                "ok_after",
                "action",
            ],
            at,
        );
        let kind = inner.get("kind").cloned().unwrap_or_default();
        let Ok(kind) = serde_json::from_value::<HealthKind>(kind) else {
            return self.wrong(
                Code::Schema,
                "/health/kind",
                "must be one of exec, tcp, http, unix",
            );
        };
        let target = self.text(inner, "target", at).unwrap_or_default();
        if target.is_empty() && kind != HealthKind::Exec {
            self.wrong(
                Code::Schema,
                "/health/target",
                "is missing: HOST:PORT, HOST:PORT/PATH or the path of a socket",
            );
        }
        if kind == HealthKind::Exec && !has_event(map, "HEALTH") {
            self.wrong(
                Code::Schema,
                at,
                "kind exec runs the scripts of the event HEALTH, and there is none",
            );
        }
        found.health = Some(Health {
            kind,
            target,
            interval_s: self.number(inner, "interval_s", at, 1..=86_400, 10),
            timeout_s: self.number(inner, "timeout_s", at, 1..=3600, 3),
            start_period_s: self.number(inner, "start_period_s", at, 0..=86_400, 0),
            fail_after: self.number(inner, "fail_after", at, 1..=1000, 3) as u32,
            ok_after: self.number(inner, "ok_after", at, 1..=1000, 1) as u32,
            action: self.word(inner, "action", at, "report, heal, restart"),
        });
    }

    fn limits(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "limits", "") else { return };
        self.keys(inner, &["memory_max", "pids_max", "files_max"], "/limits");
        let mut amount = |key: &str, least: u64| {
            let value = inner.get(key)?;
            let number = match value {
                Value::String(text) => bytes(text),
                other => other.as_u64(),
            };
            if number.is_none_or(|number| number < least) {
                let what = format!("must be a number of at least {least}, bytes with K, M or G");
                self.wrong(Code::Limits, &format!("/limits/{key}"), what);
            }
            number
        };
        found.limits = ResourceLimits {
            memory_max: amount("memory_max", 1 << 20),
            pids_max: amount("pids_max", 1),
            files_max: amount("files_max", 8),
        };
    }

    fn scaling(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "scaling", "") else { return };
        for (aspect, value) in inner {
            let at = format!("/scaling/{aspect}");
            let Value::Object(value) = value else {
                self.wrong(Code::Schema, &at, "must be an object");
                continue;
            };
            self.keys(value, &["max_steps"], &at);
            let max_steps = self.number(value, "max_steps", &at, 1..=10_000, 1) as u32;
            found.scaling.insert(aspect.clone(), Aspect { max_steps });
        }
    }

    fn manifest(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "manifest", "") else { return };
        self.keys(inner, &["files", "complete"], "/manifest");
        let complete = self.flag(inner, "complete", "/manifest", true);
        let mut files = BTreeMap::new();
        for (path, value) in self.object(inner, "files", "/manifest").into_iter().flatten() {
            let at = format!("/manifest/files/{}", path.replace('~', "~0").replace('/', "~1"));
            let pair =
                value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
            let Some((algorithm, Value::String(hex))) = pair else {
                self.wrong(Code::Schema, &at, "must be an object with one of sha256, sha512");
                continue;
            };
            files.insert(path.clone(), Expected { algorithm: algorithm.clone(), hex: hex.clone() });
        }
        found.manifest = Some((files, complete));
    }
}

fn has_event(map: &Map<String, Value>, event: &str) -> bool {
    let list = map.get("lifecycle_event").and_then(Value::as_array);
    list.into_iter().flatten().any(|item| item["event"] == event)
}

/// `512M` and the like.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Whether `name` may name a package.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_process(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.trim() == name
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "PATH" | "IFS" | "BASH_ENV" | "ENV" | "SHELLOPTS")
        || ["LD_", "PYTHON", "VNF_"].iter().any(|start| name.starts_with(start))
}

/// Letters to change, put in or take out: for "did you mean".
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let kept = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
