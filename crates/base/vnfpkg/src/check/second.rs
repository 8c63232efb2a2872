//! The members of the second schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Check, words::*};
use crate::{
    descriptor::*,
    parameter::{ready, whole},
    problem::Code,
};

impl Check {
    pub(super) fn second(
        &mut self,
        map: &Map<String, Value>,
        named: Option<String>,
        found: &mut Descriptor,
    ) {
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
        self.security(map, found);
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
                    "scope",
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
            process.by = self.word(map, "by", at, "name, comm, argv0, exe, pidfile, unit, pgrep");
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
            if process.by == By::Unit && !is_unit(&process.name) {
                let what =
                    "must be the full name of a systemd service, scope or slice: nginx.service";
                self.wrong(Code::Process, "/process/name", what);
            }
            if process.by == By::Pgrep
                && let Err(what) = ready(&process.name)
            {
                self.wrong(Code::Process, "/process/name", what);
            }
            process.args = self.texts(map, "args", at);
            process.user = self.text(map, "user", at);
            process.scope = self.word(map, "scope", at, "host, container");
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
            self.keys(value, &["type", "default", "required", "secret", "pattern"], &at);
            let default = value.get("default").map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let parameter = Parameter {
                kind: self.word(value, "type", &at, "string, integer, number, boolean"),
                default,
                required: self.flag(value, "required", &at, false),
                secret: self.flag(value, "secret", &at, false),
                pattern: self.pattern(value, &at),
            };
            if let Some(Err(what)) = parameter.default.as_deref().map(|value| parameter.fits(value))
            {
                self.wrong(Code::Schema, &format!("{at}/default"), what);
            }
            found.parameters.insert(name.clone(), parameter);
        }
    }

    fn pattern(&mut self, parameter: &Map<String, Value>, at: &str) -> Option<String> {
        let at = format!("{at}/pattern");
        let Value::String(pattern) = parameter.get("pattern")? else {
            self.wrong(Code::Schema, &at, "must be a text");
            return None;
        };
        match whole(pattern) {
            Ok(_) => Some(pattern.clone()),
            Err(what) => {
                self.wrong(Code::Schema, &at, what);
                None
            }
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
            self.keys(value, &["version", "parameters", "start_before"], &at);
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
            let parameters = self.texts(value, "parameters", &at);
            let start_before = self.flag(value, "start_before", &at, false);
            let require = Require { version, parameters, start_before };
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

    fn scaling(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "scaling", "") else { return };
        for (aspect, value) in inner {
            let at = format!("/scaling/{aspect}");
            let Value::Object(value) = value else {
                self.wrong(Code::Schema, &at, "must be an object");
                continue;
            };
            self.keys(value, &["max_steps", "step_deltas"], &at);
            let step_deltas = self.step_deltas(value, &at);
            let steps = step_deltas.len().max(1) as u64;
            let max_steps = self.number(value, "max_steps", &at, 1..=10_000, steps) as u32;
            if step_deltas.len() > 1 && step_deltas.len() != max_steps as usize {
                let what =
                    format!("must be one number for all steps, or one for each of {max_steps}");
                self.wrong(Code::Schema, &format!("{at}/step_deltas"), what);
            }
            found.scaling.insert(aspect.clone(), Aspect { max_steps, step_deltas });
        }
    }

    fn step_deltas(&mut self, aspect: &Map<String, Value>, at: &str) -> Vec<u32> {
        let Some(value) = aspect.get("step_deltas") else { return Vec::new() };
        let fits = |value: &Value| {
            value.as_u64().filter(|delta| (1..=10_000).contains(delta)).map(|delta| delta as u32)
        };
        let list = value.as_array().filter(|list| (1..=10_000).contains(&list.len()));
        let deltas = list.and_then(|list| list.iter().map(fits).collect());
        deltas.unwrap_or_else(|| {
            let what = "must be a list of 1 to 10000 whole numbers from 1 to 10000";
            self.wrong(Code::Schema, &format!("{at}/step_deltas"), what);
            Vec::new()
        })
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
