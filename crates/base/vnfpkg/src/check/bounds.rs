//! What a function may use, and what it may not.

use serde_json::{Map, Value};
use vnode_raw::capability;

use super::{Check, words::*};
use crate::{descriptor::*, problem::Code};

/// Paths that a package can have read-only.
const PATHS: usize = 64;

impl Check {
    pub(super) fn limits(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "limits", "") else { return };
        let known = ["memory_max", "pids_max", "files_max", "cpu_max", "io_weight"];
        self.keys(inner, &known, "/limits");
        let quota = inner.get("cpu_max").map(|value| {
            let processors = value.as_f64().filter(|number| (0.01..=1024.0).contains(number));
            if processors.is_none() {
                let what = "must be a number of processors from 0.01 to 1024: 0.5 is half of one";
                self.wrong(Code::Limits, "/limits/cpu_max", what);
            }
            // Within bounds, so that it fits.
            processors.map_or(0, |number| (number * 100_000.0).round() as u64)
        });
        let weight = inner.get("io_weight").map(|value| {
            let weight = value.as_u64().filter(|number| (1..=10_000).contains(number));
            if weight.is_none() {
                let what =
                    "must be a whole number from 1 to 10000, of which 100 is what others have";
                self.wrong(Code::Limits, "/limits/io_weight", what);
            }
            weight.unwrap_or(0) as u32
        });
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
            cpu_quota_us: quota,
            io_weight: weight,
        };
    }

    pub(super) fn security(&mut self, map: &Map<String, Value>, found: &mut Descriptor) {
        let Some(inner) = self.object(map, "security", "") else { return };
        let at = "/security";
        let known =
            ["no_new_privileges", "capabilities", "read_only_paths", "private_tmp", "network"];
        self.keys(inner, &known, at);
        let mut capabilities = 0;
        for (number, name) in self.texts(inner, "capabilities", at).iter().enumerate() {
            // As the manual writes them: `net_admin` is a name elsewhere.
            match name.strip_prefix("CAP_").and_then(|_| capability::bit(name)) {
                Some(bit) if name.to_ascii_uppercase() == *name => capabilities |= bit,
                _ => {
                    let what = format!(
                        "`{}` is no capability; they are named as in capabilities(7): CAP_NET_ADMIN",
                        name.escape_debug()
                    );
                    self.wrong(Code::Schema, &format!("{at}/capabilities/{number}"), what);
                }
            }
        }
        let read_only_paths = self.texts(inner, "read_only_paths", at);
        if read_only_paths.len() > PATHS {
            let what = format!("must be a list of at most {PATHS} paths");
            self.wrong(Code::Schema, &format!("{at}/read_only_paths"), what);
        }
        for (number, path) in read_only_paths.iter().enumerate() {
            let climbs = path.split('/').any(|part| part == "..");
            if !path.starts_with('/') || climbs || path.len() > 4095 {
                let what = "must be an absolute path without `..`";
                self.wrong(Code::Schema, &format!("{at}/read_only_paths/{number}"), what);
            }
        }
        found.security = Some(Security {
            no_new_privileges: self.flag(inner, "no_new_privileges", at, true),
            capabilities,
            read_only_paths,
            private_tmp: self.flag(inner, "private_tmp", at, false),
            network: self.flag(inner, "network", at, true),
        });
    }
}
