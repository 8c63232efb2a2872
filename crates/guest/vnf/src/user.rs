//! Users by name, from `/etc/passwd` and `/etc/group`: a static program has no other way.

use std::fs;

/// A user as a program is run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// The user of that name or number.
pub(crate) fn find(name: &str) -> Result<User, String> {
    let text = fs::read_to_string("/etc/passwd")
        .map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
    let number: Option<u32> = name.parse().ok();
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [login, _, uid, gid, _, home, _] = fields[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (login == name || number == Some(uid)).then(|| User {
            name: login.to_owned(),
            uid,
            gid,
            groups: vec![gid],
            home: home.to_owned(),
        })
    });
    let mut user = found.ok_or_else(|| format!("there is no user `{}`", name.escape_debug()))?;
    // Supplementary groups are a convenience: who has no /etc/group has none.
    for line in fs::read_to_string("/etc/group").unwrap_or_default().lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { continue };
        if let Ok(gid) = gid.parse()
            && members.split(',').any(|member| member == user.name)
            && !user.groups.contains(&gid)
        {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

/// The number of a group.
pub(crate) fn group(name: &str) -> Result<u32, String> {
    let text = fs::read_to_string("/etc/group")
        .map_err(|error| format!("cannot read /etc/group: {error}"))?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| format!("there is no group `{}`", name.escape_debug()))
}

/// Who we are.
pub(crate) fn own() -> User {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    find(&uid.to_string()).unwrap_or_else(|_| User {
        name: uid.to_string(),
        uid,
        gid,
        groups: vec![gid],
        home: "/".to_owned(),
    })
}
