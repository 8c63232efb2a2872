//! `component check FILE...`: what is wrong with definition files, what is probably not meant, and whether the two files
//! of a component agree, which nothing else looks at.

use std::path::{Path, PathBuf};

use super::{Error, print};
use crate::{
    definition::{self, Component, Finding, Instance, Invalid},
    yang::{Schemas, Subject},
};

/// Whether an argument of `check` is a definition file and not a model.
pub(super) fn is_file(target: &str) -> bool {
    target.contains('/') || target.ends_with(".component") || target.ends_with(".instance")
}

/// What was read of one file.
#[derive(Default)]
struct Checked {
    findings: Vec<Finding>,
    failed: bool,
    component: Option<Component>,
    instance: Option<Instance>,
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
    let mut all: Vec<Checked> = files.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    let components: Vec<Component> =
        all.iter_mut().filter_map(|checked| checked.component.take()).collect();
    for checked in &mut all {
        if let Some(instance) = &checked.instance {
            let component = components.iter().find(|component| component.name == instance.name);
            if let Some(component) = component {
                checked.findings.extend(disagreements(component, instance));
            }
            checked.findings.extend(of_modules(component, instance, folders));
        }
    }
    for (file, checked) in files.iter().zip(&all) {
        for finding in &checked.findings {
            if json {
                let mut line = serde_json::json!(finding);
                line["file"] = serde_json::json!(file);
                print(&line.to_string())?;
            } else {
                print(&format!("{file}:{finding}"))?;
            }
        }
    }
    if all.iter().any(|checked| checked.failed) { Err(Error::Found) } else { Ok(()) }
}

fn read(file: &str) -> Result<Checked, Error> {
    let bytes =
        definition::read_file(Path::new(file)).map_err(Error::io(format!("read {file}")))?;
    let mut checked = Checked::default();
    let refused = |Invalid { findings }| Checked { findings, failed: true, ..Checked::default() };
    if file.ends_with(".component") {
        match Component::read(&bytes) {
            Ok(read) => (checked.findings, checked.component) = (read.findings, Some(read.value)),
            Err(invalid) => return Ok(refused(invalid)),
        }
    } else {
        match Instance::read(&bytes) {
            Ok(read) => (checked.findings, checked.instance) = (read.findings, Some(read.value)),
            Err(invalid) => return Ok(refused(invalid)),
        }
    }
    Ok(checked)
}

/// Models that only one of a component's two files has.
fn disagreements(component: &Component, instance: &Instance) -> Vec<Finding> {
    let mut findings = Vec::new();
    for model in &instance.models {
        if !component.models.iter().any(|known| known.name == model.name) {
            let text = format!("the component file has no model `{}`: nobody asks it", model.name);
            findings.push(Finding::warning(0, text));
        }
    }
    for model in &component.models {
        if !instance.models.iter().any(|known| known.name == model.name) {
            let text =
                format!("there is no `[Model {}]`, which the component file has", model.name);
            findings.push(Finding::warning(0, text));
        }
    }
    findings
}

/// What is wrong with the YANG modules of an instance, where it is known where they are.
fn of_modules(
    component: Option<&Component>,
    instance: &Instance,
    folders: &[PathBuf],
) -> Vec<Finding> {
    let schemas = Schemas::default();
    let mut findings = Vec::new();
    for model in &instance.models {
        let declared = component
            .and_then(|component| component.models.iter().find(|known| known.name == model.name))
            .map(|known| known.modules.as_slice());
        let Some(subject) = Subject::of(model, folders, declared) else { continue };
        if let Some(problem) = schemas.problem(&subject) {
            let text = format!("`{}` is not checked: {problem}", model.name);
            findings.push(Finding::warning(0, text));
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
