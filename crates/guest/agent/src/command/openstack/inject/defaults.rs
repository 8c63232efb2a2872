//! Mode and owner of files and folders that were not there.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use vnode_action::account;
use vnode_beneath::{Dir, DirError};

use super::super::replace::Attributes;

/// Largest `/etc/passwd` that is looked into.
const PASSWD_MAX: u64 = 4 << 20;

/// Of a new file: nobody else reads what is likely to be a secret; in a home it is its owner's.
pub(super) fn of_new_file(root: &Dir, path: &Path) -> Attributes {
    let mode = if is_secret(path) { 0o600 } else { 0o644 };
    Attributes::new(mode, home_owner(root, path).unwrap_or((0, 0)))
}

/// The owner of a folder.
pub(super) fn owner_of(root: &Dir, folder: &Path) -> Result<(u32, u32), DirError> {
    let stat = root.stat(folder)?;
    Ok((stat.st_uid, stat.st_gid))
}

fn is_secret(path: &Path) -> bool {
    let text = path.as_os_str().as_bytes();
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let in_ssh = path.parent().is_some_and(|p| p.components().any(|c| c.as_os_str() == ".ssh"));
    let is_key = !name.ends_with(b".pub")
        && (name.ends_with(b".key")
            || name.ends_with(b".pem")
            || name.ends_with(b"_key")
            || name.starts_with(b"id_"));
    let of = |start: &[u8]| text.starts_with(start);
    in_ssh || is_key || of(b"/etc/shadow") || of(b"/etc/gshadow") || of(b"/etc/sudoers")
}

/// Who owns the home that the path lies in: the deepest home of `/etc/passwd` that is above it.
fn home_owner(root: &Dir, path: &Path) -> Option<(u32, u32)> {
    // Without the file there are no homes; root owns what is new then.
    let passwd = root.read_to_limit("etc/passwd", PASSWD_MAX).ok()?;
    let passwd = String::from_utf8_lossy(&passwd);
    let home = account::accounts(&passwd)
        .map(|account| Path::new(account.home))
        .filter(|home| home.is_absolute() && home.parent().is_some())
        .filter(|home| path.starts_with(home) && path != *home)
        .max_by_key(|home| home.components().count())?;
    owner_of(root, home).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret() {
        for secret in [
            "/root/.ssh/authorized_keys",
            "/home/a/.ssh/deeper/x",
            "/etc/shadow",
            "/etc/shadow-",
            "/etc/sudoers.d/me",
            "/etc/ssh/ssh_host_rsa_key",
            "/etc/ssl/private/a.key",
            "/root/id_rsa",
        ] {
            assert!(is_secret(Path::new(secret)), "{secret}");
        }
        for open in ["/etc/motd", "/etc/ssh/ssh_host_rsa_key.pub", "/.sshx/y", "/root/id_rsa.pub"] {
            assert!(!is_secret(Path::new(open)), "{open}");
        }
    }
}
