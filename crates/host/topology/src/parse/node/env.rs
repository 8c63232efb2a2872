//! A node's environment, from the file, env-files and the caller.

use std::collections::BTreeMap;

use super::Reader;
use crate::model::Node;
use crate::parse::binds;
use crate::parse::fields::short;
use crate::parse::layers::Layers;
use crate::report::{At, Report};

/// Largest env-file that is taken.
const MOST_ENV_FILE: usize = 1 << 20;

impl Reader<'_> {
    /// `env` over `env-files` over the caller's environment.
    pub(super) fn env(
        &mut self,
        node: &mut Node,
        layers: &Layers<'_, '_>,
        report: &mut Report<'_>,
    ) {
        let mut env = BTreeMap::new();
        let merged = layers.merged("env", report);
        if let Some((import, at)) = merged.get("__IMPORT_ENVS") {
            match *import {
                "true" => env.extend(self.world.all_env()),
                "false" | "" => {}
                _ => report.error(at, "`__IMPORT_ENVS` is true or false"),
            }
        }
        for (given, at) in layers.joined("env-files", report) {
            let given = self.magic(given, &node.name);
            if let Some(pairs) = self.env_file(&given, &at, report) {
                env.extend(pairs.iter().cloned());
            }
        }
        for (key, (value, at)) in merged {
            if key == "__IMPORT_ENVS" {
                continue;
            }
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                report.error(&at, format!("`{}` cannot be an environment variable", short(key)));
                continue;
            }
            env.insert(key.to_owned(), self.magic(value, &node.name));
        }
        node.env = env;
    }

    fn env_file(
        &mut self,
        given: &str,
        at: &At,
        report: &mut Report<'_>,
    ) -> Option<&Vec<(String, String)>> {
        if !self.env_files.contains_key(given) {
            let path = binds::host_path(given, self.folder, self.home.as_deref());
            let pairs = match self.world.read(&path) {
                Ok(text) if text.len() <= MOST_ENV_FILE => {
                    Some(env_pairs(&text, given, at, report))
                }
                Ok(_) => {
                    report.error(at, format!("env-file `{}` is longer than 1 MiB", short(given)));
                    None
                }
                Err(error) => {
                    report.error(at, format!("cannot read env-file `{}`: {error}", short(given)));
                    None
                }
            };
            self.env_files.insert(given.to_owned(), pairs);
        }
        self.env_files.get(given)?.as_ref()
    }
}

/// Lines `NAME=value`, with comments, blank lines, `export` and quotes around the value.
fn env_pairs(text: &str, file: &str, at: &At, report: &mut Report<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                let value = value.trim();
                let quoted = ['"', '\''].into_iter().find_map(|quote| {
                    value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
                });
                pairs.push((name.trim().to_owned(), quoted.unwrap_or(value).to_owned()));
            }
            _ => report.warn(
                at,
                format!(
                    "line {} of env-file `{}` is not of the form NAME=value and is left out",
                    number + 1,
                    short(file)
                ),
            ),
        }
    }
    pairs
}
