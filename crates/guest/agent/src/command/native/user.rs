//! Users by name or number, from the files of the root folder: a static program has no name service.

use vnode_action::User;
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
    let missing = || CommandError::not_found(format!("there is no user `{wanted}`"));
    let account = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        (name == wanted || uid == wanted).then_some((name, uid, gid, home, shell))
    });
    let (name, uid, gid, home, shell) = account.ok_or_else(missing)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| missing());
    let gid = number(gid)?;
    let mut groups = vec![gid];
    // A system without the file has no further groups.
    if let Ok(group) = read("etc/group") {
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, id, members] = fields[..]
                && members.split(',').any(|member| member == name)
                && let Ok(id) = id.parse()
                && !groups.contains(&id)
            {
                groups.push(id);
            }
        }
    }
    Ok(Account {
        name: name.to_owned(),
        user: User { uid: number(uid)?, gid, groups },
        home: home.to_owned(),
        shell: if shell.is_empty() { "/bin/sh" } else { shell }.to_owned(),
    })
}
