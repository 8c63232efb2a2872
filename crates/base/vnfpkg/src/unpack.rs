//! Pass 2: writing what pass 1 has seen.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
};

use vnode_beneath::{Dir, DirError};

use crate::{
    package::{Again, Package, walk},
    problem::{Code, Problem, Refused},
    tree::{Entry, Kind},
};

/// Above so many files one sync of the whole file system is cheaper than one of each.
const SINGLE_SYNCS: usize = 32;

fn unwritten(path: &str, error: &io::Error) -> Problem {
    let full = matches!(error.raw_os_error(), Some(28 | 122)); // ENOSPC, EDQUOT
    let (code, what) = if full {
        (Code::NoSpace, "there is no room for it".to_owned())
    } else {
        (Code::NoSpace, format!("it cannot be written ({error})"))
    };
    Problem::new(code, what).entry(path)
}

fn beneath(path: &str) -> impl Fn(DirError) -> Problem {
    move |error| {
        let os = error
            .raw_os_error()
            .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error);
        unwritten(path, &os)
    }
}

impl Package {
    /// Writes the package into the empty folder `into`: folders 0755, files 0444, scripts 0555, links last, nothing
    /// else taken from the archive; durable on return. Blocks.
    ///
    /// # Errors
    /// `E-ARCHIVE-CHANGED` when the archive is not what was checked, `E-NOSPACE` when it cannot be written.
    pub fn unpack(&self, file: &File, into: &Dir) -> Result<(), Refused> {
        let scripts: Vec<&str> = self
            .descriptor
            .events
            .values()
            .flat_map(|hook| hook.scripts.iter().map(|script| script.path.as_str()))
            .collect();
        let root = &self.root;
        // A script may be named by a link: then what it means is run.
        let executable: Vec<&str> = scripts
            .iter()
            .filter_map(|path| {
                let full =
                    if root.is_empty() { (*path).to_owned() } else { format!("{root}/{path}") };
                let member = self.listing.file(&full)?;
                crate::tree::stripped(&member.entry.path, root)
            })
            .collect();
        let single = self.listing.members.len() <= SINGLE_SYNCS;
        let mut links = Vec::new();
        let then = |path: &str, entry: &Entry, data: &mut dyn Read| {
            let failed = beneath(path);
            if let Some((folder, _)) = path.rsplit_once('/') {
                into.mkdir_all(folder, 0o755).map_err(&failed)?;
            }
            let mode =
                if scripts.contains(&path) || executable.contains(&path) { 0o555 } else { 0o444 };
            match &entry.kind {
                Kind::Folder => into.mkdir_all(path, 0o755).map_err(&failed)?,
                Kind::Symlink(target) => links.push((path.to_owned(), target.clone())),
                Kind::File => {
                    let mut written = into.create(path, mode).map_err(&failed)?;
                    copy(data, &mut written, path, self)?;
                    finish(&written, mode, single).map_err(|error| unwritten(path, &error))?;
                }
                Kind::HardLink(target) => {
                    let target = crate::tree::stripped(target, root).unwrap_or(target);
                    let mut source = into.open(target).map_err(&failed)?;
                    let mut written = into.create(path, mode).map_err(&failed)?;
                    io::copy(&mut source, &mut written).map_err(|error| unwritten(path, &error))?;
                    finish(&written, mode, single).map_err(|error| unwritten(path, &error))?;
                }
            }
            Ok(())
        };
        let mut again = Again { listing: &self.listing, root, at: 0, then };
        let file = self.inner.as_ref().unwrap_or(file);
        walk(file, self.packing, &self.limits, &mut again)?;
        if again.at != self.listing.members.len() {
            let what = "the archive was shorter when it was read again";
            return Err(Problem::new(Code::ArchiveChanged, what).into());
        }
        for (path, target) in &links {
            into.symlink(target, path).map_err(beneath(path))?;
        }
        if single {
            into.sync().map_err(beneath("."))?;
        } else {
            rustix::fs::syncfs(into).map_err(|error| unwritten(".", &error.into()))?;
        }
        Ok(())
    }
}

fn copy(
    from: &mut dyn Read,
    into: &mut File,
    path: &str,
    package: &Package,
) -> Result<(), Problem> {
    let mut buffer = [0; 64 << 10];
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|error| crate::decode::problem_of(error, package.packing, true).entry(path))?;
        if read == 0 {
            return Ok(());
        }
        into.write_all(&buffer[..read]).map_err(|error| unwritten(path, &error))?;
    }
}

/// The mode as it is written, whatever our umask is.
fn finish(file: &File, mode: u32, sync: bool) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    if sync { file.sync_data() } else { Ok(()) }
}
