//! The verbs that read and write files, without a bus.

use std::path::Path;

use super::{Error, print};
use crate::{
    definition::{self, Component, Finding, Instance, Invalid},
    install, skeleton,
};

/// Whether an argument of `check` is a definition file and not a model.
pub(super) fn is_file(target: &str) -> bool {
    target.contains('/') || target.ends_with(".component") || target.ends_with(".instance")
}

pub(super) fn check(files: &[String], data: Option<&str>) -> Result<(), Error> {
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
            Instance::read(&bytes).map(|read| read.findings)
        };
        let findings: Vec<Finding> = read.unwrap_or_else(|Invalid { findings }| {
            failed = true;
            findings
        });
        for finding in findings {
            print(&format!("{file}:{finding}"))?;
        }
    }
    if failed { Err(Error::Found) } else { Ok(()) }
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
        print(&format!("left: {}", crate::script::chain(&error)))?;
    }
    Ok(())
}

pub(super) fn new(folder: &Path, name: &str) -> Result<(), Error> {
    let made = skeleton::create(folder, name)?;
    print(&format!("{} is ready: try `{}/test`", made.display(), made.display()))
}
