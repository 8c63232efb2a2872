//! A new component that works from the beginning: definition files, a YANG module, a script, a test.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why nothing was begun.
#[derive(Debug, Error)]
pub enum Error {
    #[error("`{0}` is no name for a component: small letters, digits and `-`, a letter first")]
    Name(String),
    #[error("cannot write {}; is there one already?", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

const FILES: [(&str, u32, &str); 5] = [
    ("NAME.component", 0o644, include_str!("../skeleton/NAME.component")),
    ("NAME.instance", 0o644, include_str!("../skeleton/NAME.instance")),
    ("NAME-v1.yang", 0o644, include_str!("../skeleton/NAME-v1.yang")),
    ("NAME", 0o755, include_str!("../skeleton/NAME")),
    ("test", 0o755, include_str!("../skeleton/test")),
];

/// Writes a component called `name` into a new folder of that name below `parent`. Gives the folder.
///
/// # Errors
/// When the name is none, or the folder is there already.
pub fn create(parent: &Path, name: &str) -> Result<PathBuf, Error> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || name.len() > 64
        || name.ends_with('-')
        || !name.chars().all(letters)
    {
        return Err(Error::Name(name.to_owned()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let folder = std::path::absolute(parent.join(name)).map_err(failed(parent))?;
    fs::create_dir(&folder).map_err(failed(&folder))?;
    let at = folder.to_string_lossy().into_owned();
    for (file, mode, text) in FILES {
        let path = folder.join(file.replace("NAME", name));
        let text = text.replace("@NAME@", name).replace("@FOLDER@", &at);
        let mut options = fs::OpenOptions::new();
        let mut opened =
            options.write(true).create_new(true).mode(mode).open(&path).map_err(failed(&path))?;
        io::Write::write_all(&mut opened, text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Component, Instance};

    #[test]
    fn a_new_component_is_well_formed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = create(parent.path(), "my-toaster").unwrap();
        let component =
            Component::read(&fs::read(folder.join("my-toaster.component")).unwrap()).unwrap();
        let instance =
            Instance::read(&fs::read(folder.join("my-toaster.instance")).unwrap()).unwrap();
        assert_eq!((component.findings.len(), instance.findings.len()), (0, 0));
        assert_eq!(component.value.name, instance.value.name);
        assert_eq!(component.value.models[0].name, instance.value.models[0].name);
        assert!(matches!(create(parent.path(), "my-toaster"), Err(Error::Io { .. })));
        for bad in ["", "../x", "X", "1a", "a b", "a-"] {
            assert!(matches!(create(parent.path(), bad), Err(Error::Name(_))), "{bad}");
        }
    }
}
