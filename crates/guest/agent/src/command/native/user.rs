//! Users by name or number, from the files of the root folder: a static program has no name service.

use vnode_action::{User, account};
use vnode_beneath::Dir;

use super::super::CommandError;

/// Largest account file that is read, bytes.
const FILE_BYTES: u64 = 4 << 20;

/// A user, as far as a program needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) user: User,
    pub(super) home: String,
    pub(super) shell: String,
}

/// The user of that name or number.
///
/// # Errors
/// When the files do not tell.
pub(super) fn look_up(root: &Dir, wanted: &str) -> Result<Account, CommandError> {
    let read = |name: &str| {
        root.read_to_limit(name, FILE_BYTES)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| super::failed(&format!("read `/{name}`"), error))
    };
    let passwd = read("etc/passwd")?;
    let account = account::account(&passwd, wanted)
        .ok_or_else(|| CommandError::not_found(format!("there is no user `{wanted}`")))?;
    // A system without the file has no further groups.
    let group = read("etc/group").unwrap_or_default();
    let shell = if account.shell.is_empty() { "/bin/sh" } else { account.shell };
    Ok(Account {
        name: account.name.to_owned(),
        user: account.user(&group),
        home: account.home.to_owned(),
        shell: shell.to_owned(),
    })
}
