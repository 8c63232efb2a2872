//! The verbs that read and write files, without a bus.

use std::path::{Path, PathBuf};

use super::{Error, print};
use crate::{
    definition::{self, Component, Finding, Instance, Invalid},
    install, skeleton,
    yang::{Schemas, Subject},
};

/// Whether an argument of `check` is a definition file and not a model.
pub(super) fn is_file(target: &str) -> bool {
    target.contains('/') || target.ends_with(".component") || target.ends_with(".instance")
}

/// Checks definition files; where their YANG modules are known, also that these can be used.
pub(super) fn check(
    files: &[String],
    data: Option<&str>,
    folders: &[PathBuf],
    json: bool,
) -> Result<(), Error> {
    if data.is_some() {
        return Err(Error::Usage("`--data` is for a model, not for files".to_owned()));
    }
    let mut failed = false;
    for file in files {
        let bytes =
            definition::read_file(Path::new(file)).map_err(Error::io(format!("read {file}")))?;
        let read = if file.ends_with(".component") {
            Component::read(&bytes).map(|read| read.findings)
        } else {
            Instance::read(&bytes).map(|mut read| {
                read.findings.extend(of_modules(&read.value, folders));
                read.findings
            })
        };
        let findings: Vec<Finding> = read.unwrap_or_else(|Invalid { findings }| {
            failed = true;
            findings
        });
        for finding in findings {
            if json {
                let mut line = serde_json::json!(finding);
                line["file"] = serde_json::json!(file);
                print(&line.to_string())?;
            } else {
                print(&format!("{file}:{finding}"))?;
            }
        }
    }
    if failed { Err(Error::Found) } else { Ok(()) }
}

/// What is wrong with the YANG modules of an instance, where it is known where they are.
fn of_modules(instance: &Instance, folders: &[PathBuf]) -> Vec<Finding> {
    let schemas = Schemas::default();
    let mut findings = Vec::new();
    for model in &instance.models {
        let Some(subject) = Subject::of(model, folders, None) else { continue };
        if let Some(problem) = schemas.problem(&subject) {
            findings
                .push(Finding::warning(0, format!("`{}` is not checked: {problem}", model.name)));
            continue;
        }
        for rpc in &model.rpcs {
            let known = subject.modules().contains(&rpc.module);
            if known && !schemas.defines(&subject, &rpc.module, &rpc.name) {
                let text = format!("`{}`: the module has no such RPC", rpc.key());
                findings.push(Finding::warning(0, text));
            }
        }
    }
    findings
}

fn read(file: &Path, unit: Option<&str>) -> Result<Vec<install::Installed>, Error> {
    let bytes =
        definition::read_file(file).map_err(Error::io(format!("read {}", file.display())))?;
    let read = Component::read(&bytes)
        .map_err(|source| Error::Invalid { path: file.to_owned(), source })?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let unit = unit.unwrap_or(&stem);
    if unit.is_empty() || unit.contains('/') {
        return Err(Error::Usage(format!("`{unit}` is no name of a unit")));
    }
    Ok(install::files(&read.value, unit))
}

pub(super) fn install(file: &Path, root: &Path, unit: Option<&str>) -> Result<(), Error> {
    let files = read(file, unit)?;
    install::write(root, &files)?;
    files.iter().try_for_each(|file| print(&root.join(&file.path).display().to_string()))
}

pub(super) fn remove(file: &Path, root: &Path, unit: Option<&str>) -> Result<(), Error> {
    for error in install::remove(root, &read(file, unit)?) {
        // A package's removal never fails for what cannot be removed.
        print(&format!("left: {}", vnode_protocol::chain(&error)))?;
    }
    Ok(())
}

pub(super) fn new(folder: &Path, name: &str) -> Result<(), Error> {
    let made = skeleton::create(folder, name)?;
    print(&format!("{} is ready: try `{}/test`", made.display(), made.display()))
}
