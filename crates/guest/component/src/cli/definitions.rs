//! The verbs that read and write files, without a bus.

use std::path::Path;

use super::{Error, print};
use crate::{
    definition::{self, Component},
    install, skeleton,
};

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
