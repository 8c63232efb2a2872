//! For who writes packages: a first one, an archive of a folder, a signature on it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{
    limits::Limits,
    package::Package,
    problem::{Code, Problem, Refused},
    sign::{SecretKey, Trust},
    tree::hex,
};

mod envelope;

pub use envelope::{Signer, envelop};

/// Why a folder does not become a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorError {
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<Problem> for AuthorError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorError {
    let path = path.to_owned();
    move |source| AuthorError::Io { doing, path, source }
}

/// Writes the smallest package that does something, into the folder `folder`, which must not exist or be empty.
///
/// # Errors
/// When the name is refused, or the folder cannot be written or holds something.
pub fn create(folder: &Path, name: &str, process: &str) -> Result<(), AuthorError> {
    if !crate::is_name(name) {
        let what = format!("`{}` is no name: 1 to 64 of A-Z, a-z, 0-9", name.escape_debug());
        return Err(Problem::new(Code::Name, what).into());
    }
    fs::create_dir_all(folder).map_err(io_at("make", folder))?;
    let mut entries = fs::read_dir(folder).map_err(io_at("read", folder))?;
    if entries.next().is_some() {
        let source = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
        return Err(AuthorError::Io {
            doing: "begin a package in",
            path: folder.to_owned(),
            source,
        });
    }
    let event = |event: &str, script: &str| json!({ "event": event, "lifecycle_events": [script] });
    let descriptor = json!({
        "name": name,
        "VNFprocess": process,
        "lifecycle_event": [
            event("INSTANTIATE", "install.sh"),
            event("START", "start.sh"),
            event("TERMINATE", "terminate.sh"),
        ],
    });
    let text = serde_json::to_string_pretty(&descriptor).expect("a map of texts is JSON") + "\n";
    let write = |file: &str, text: &str, mode: u32| {
        let path = folder.join(file);
        fs::write(&path, text).map_err(io_at("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io_at("change", &path))
    };
    write("lifecycle.json", &text, 0o644)?;
    let script =
        |when: &str| format!("#!/bin/sh -e\n# Runs {when}.\necho \"$VNF_NAME: $VNF_EVENT\"\n");
    write("install.sh", &script("once, when the function is instantiated"), 0o755)?;
    write("start.sh", &script(&format!("when `{process}` has appeared")), 0o755)?;
    write("terminate.sh", &script(&format!("when the last `{process}` has gone")), 0o755)
}

/// Packs the folder `folder` into `archive` (`.tar`, `.tar.gz` or `.tgz`, `.tar.zst`, `.zip` or `.csar` by its name), the
/// same bytes each time, and checks the outcome as a store would.
///
/// # Errors
/// When it cannot be read or written, or the package is refused; then no archive is left.
pub fn pack(folder: &Path, archive: &Path, limits: &Limits) -> Result<Package, AuthorError> {
    let result =
        write_archive(folder, archive).and_then(|()| lint(archive, limits, &Trust::default()));
    if result.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(archive);
    }
    result
}

fn write_archive(folder: &Path, archive: &Path) -> Result<(), AuthorError> {
    let mut paths = Vec::new();
    collect(folder, Path::new(""), &mut paths)?;
    paths.sort();
    let out = File::create(archive).map_err(io_at("write", archive))?;
    let failed = |error| io_at("write", archive)(error);
    let name = archive.to_string_lossy();
    if name.ends_with(".gz") || name.ends_with(".tgz") {
        let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::default());
        append(folder, &paths, &mut out)?;
        out.finish().and_then(|mut file| file.flush()).map_err(failed)
    } else if name.ends_with(".zst") {
        let mut out = zstd::stream::write::Encoder::new(out, 9).map_err(failed)?;
        append(folder, &paths, &mut out)?;
        out.finish().and_then(|mut file| file.flush()).map_err(failed)
    } else if name.ends_with(".zip") || name.ends_with(".csar") {
        append_zipped(folder, &paths, out)
    } else {
        let mut out = out;
        append(folder, &paths, &mut out)
    }
}

fn append_zipped(folder: &Path, paths: &[PathBuf], out: File) -> Result<(), AuthorError> {
    let mut zip = ZipWriter::new(out);
    for path in paths {
        let from = folder.join(path);
        let failed = io_at("pack", &from);
        let mut add = || {
            let meta = fs::symlink_metadata(&from)?;
            let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
            let options = SimpleFileOptions::default().unix_permissions(mode);
            let name = path.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
            if meta.is_symlink() {
                let target = fs::read_link(&from)?;
                let target = target.to_str().ok_or(io::ErrorKind::InvalidData)?;
                return Ok(zip.add_symlink(name, target, options)?);
            }
            zip.start_file(name, options)?;
            io::copy(&mut File::open(&from)?, &mut zip).map(drop)
        };
        add().map_err(failed)?;
    }
    let finished = zip.finish().map_err(io::Error::from).and_then(|mut file| file.flush());
    finished.map_err(io_at("pack", folder))
}

fn collect(folder: &Path, below: &Path, into: &mut Vec<PathBuf>) -> Result<(), AuthorError> {
    let here = folder.join(below);
    for entry in fs::read_dir(&here).map_err(io_at("read", &here))? {
        let entry = entry.map_err(io_at("read", &here))?;
        let path = below.join(entry.file_name());
        if into.len() > 65_536 {
            return Err(Problem::new(Code::TooMany, "more than 65536 files").into());
        }
        if entry.file_type().map_err(io_at("look at", &here))?.is_dir() {
            collect(folder, &path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn append(folder: &Path, paths: &[PathBuf], out: &mut dyn Write) -> Result<(), AuthorError> {
    let mut builder = tar::Builder::new(out);
    builder.mode(tar::HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    for path in paths {
        let from = folder.join(path);
        builder.append_path_with_name(&from, path).map_err(io_at("pack", &from))?;
    }
    builder.finish().map_err(io_at("pack", folder))
}

/// Checks an archive, or a folder that is to be packed, as a store would.
///
/// # Errors
/// Why it would be refused.
pub fn lint(path: &Path, limits: &Limits, trust: &Trust) -> Result<Package, AuthorError> {
    if path.is_dir() {
        let file = tempfile::tempfile().map_err(io_at("write in", &std::env::temp_dir()))?;
        let mut out = file.try_clone().map_err(io_at("copy", path))?;
        let mut paths = Vec::new();
        collect(path, Path::new(""), &mut paths)?;
        paths.sort();
        append(path, &paths, &mut out)?;
        return Ok(Package::open(&file, limits, trust)?);
    }
    let file = File::open(path).map_err(io_at("open", path))?;
    Ok(Package::open(&file, limits, trust)?)
}

/// Writes `MANIFEST` with the SHA-256 of every file of the folder, and `MANIFEST.sig`, signed with `key`. To be packed
/// afterwards.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn sign(folder: &Path, key: &SecretKey) -> Result<(), AuthorError> {
    let mut paths = Vec::new();
    collect(folder, Path::new(""), &mut paths)?;
    paths.sort();
    let mut text = String::new();
    for path in
        paths.iter().filter(|path| !matches!(path.to_str(), Some("MANIFEST" | "MANIFEST.sig")))
    {
        let from = folder.join(path);
        if from.symlink_metadata().map_err(io_at("look at", &from))?.is_symlink() {
            continue;
        }
        let Some(name) = path.to_str() else {
            return Err(Problem::new(Code::NameEncoding, "the name is not UTF-8")
                .entry(path.to_string_lossy())
                .into());
        };
        let mut digest = Sha256::new();
        let mut file = File::open(&from).map_err(io_at("open", &from))?;
        let mut buffer = [0; 64 << 10];
        loop {
            let read = file.read(&mut buffer).map_err(io_at("read", &from))?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
        }
        text += &format!("sha256 {} {name}\n", hex(&digest.finalize()));
    }
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(io_at("write", &path))
    };
    write("MANIFEST", &text)?;
    write("MANIFEST.sig", &key.sign(text.as_bytes(), "vnode package manifest"))
}
