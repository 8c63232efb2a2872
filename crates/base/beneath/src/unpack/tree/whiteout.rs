//! Deletions of one layer in those below, as an overlay of this machine's kernel reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode as Permissions, XattrFlags};
use rustix::io::Errno;

use super::{Tree, failed};
use crate::Dir;
use crate::unpack::{Error, Whiteouts};

const OPAQUE: &str = "trusted.overlay.opaque";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";

impl Tree<'_> {
    fn makes_whiteouts(&self) -> bool {
        self.root_file_system().is_some_and(|c| c.whiteouts == Whiteouts::Overlay)
    }

    pub(super) fn is_whiteout(&self, path: &Path) -> bool {
        self.makes_whiteouts()
            && self.root.stat(path).is_ok_and(|s| {
                FileType::from_raw_mode(s.st_mode) == FileType::CharacterDevice && s.st_rdev == 0
            })
    }

    /// Handles a member that is a whiteout; whether it was one. OCI image layer specification, "Whiteouts": they
    /// concern the layers below only, so what this layer itself has under the name stays, and a folder of that name
    /// hides all that was in the old one.
    pub(super) fn whiteout(&mut self, path: &Path) -> Result<bool, Error> {
        if !self.makes_whiteouts() {
            return Ok(false);
        }
        let name = path.file_name().unwrap_or_default().as_bytes();
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if name == OPAQUE_MARK {
            let (parent, _) = self.parent(path)?;
            make_opaque(&parent, path)?;
            return Ok(true);
        }
        if hidden.starts_with(WHITEOUT) {
            // Bookkeeping of aufs; it means nothing outside it.
            return Ok(true);
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(Error::Refused { path: path.to_owned(), why: "a whiteout of no name" });
        }
        let hidden = path.with_file_name(OsStr::from_bytes(hidden));
        let (parent, name) = self.parent(&hidden)?;
        let made = rustix::fs::mknodat(
            &parent,
            &name,
            FileType::CharacterDevice,
            Permissions::from_raw_mode(0o600),
            0,
        );
        match made {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                if let Ok(folder) = self.open_folder(&parent, &name) {
                    make_opaque(&folder, &hidden)?;
                }
                Ok(true)
            }
            Err(errno) => Err(failed(path, "mknod")(errno)),
        }
    }
}

pub(super) fn make_opaque(folder: &Dir, path: &Path) -> Result<(), Error> {
    rustix::fs::fsetxattr(folder, OPAQUE, b"y", XattrFlags::empty())
        .map_err(failed(path, "setting trusted.overlay.opaque"))
}
