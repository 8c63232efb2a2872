//! A package as bytes, opened as `vnode-agent vnf push` opens it: what it holds stays inside itself, and the bounds hold.

use std::{fs::File, io::Write};

use vnode_vnfpkg::{Limits, Package, Trust};

fn limits() -> Limits {
    Limits {
        total_bytes: 1 << 20,
        file_bytes: 1 << 20,
        ratio_from: 64 << 10,
        decoder_bytes: 4 << 20,
        window_log: 20,
        ..Limits::default()
    }
}

/// Opens it, and holds the paths it names against its root.
pub(crate) fn open(bytes: &[u8]) {
    let Ok(mut file) = memory() else { return };
    if file.write_all(bytes).is_ok()
        && let Ok(package) = Package::open(&file, &limits(), &Trust::default())
    {
        for (path, _) in package.files() {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        }
    }
}

fn memory() -> std::io::Result<File> {
    // No name: two runs beside each other do not meet.
    let path = std::env::temp_dir().join(format!("vnode-fuzz-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
