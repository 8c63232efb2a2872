//! Accounts as the files of a system have them: `passwd(5)` and `group(5)`. Text in, numbers out; reading the files, in
//! whatever root they lie, is the caller's. A static program has no name service to ask.

use crate::User;

/// One line of `passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    pub name: &'a str,
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// Empty where the line names none.
    pub home: &'a str,
    /// Empty where the line names none.
    pub shell: &'a str,
}

impl Account<'_> {
    /// Whom a program runs as: with its own group, and those of the file `group` that it is a member of.
    #[must_use]
    pub fn user(&self, group: &str) -> User {
        let mut groups = vec![self.gid];
        for (_, gid, members) in lines_of_group(group) {
            if members.split(',').any(|member| member == self.name) && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
        User { uid: self.uid, gid: self.gid, groups }
    }
}

/// The accounts of a `passwd` file, in its order. Lines that are none are passed over.
pub fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (_comment, home, shell) = (fields.next(), fields.next(), fields.next());
        let (home, shell) = (home.unwrap_or_default(), shell.unwrap_or_default());
        Some(Account { name, uid, gid, home, shell })
    })
}

/// The account of that name or number; of several, the first of the file.
#[must_use]
pub fn account<'a>(passwd: &'a str, wanted: &str) -> Option<Account<'a>> {
    let number: Option<u32> = wanted.parse().ok();
    accounts(passwd).find(|account| account.name == wanted || number == Some(account.uid))
}

/// The number of a group of that name.
#[must_use]
pub fn group_id(group: &str, wanted: &str) -> Option<u32> {
    lines_of_group(group).find(|(name, _, _)| *name == wanted).map(|(_, gid, _)| gid)
}

/// Name, number, members.
fn lines_of_group(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n# broken\nann:x:7:8:Ann:/home/ann:/bin/zsh\nbob:x:9:9\n7:x:70:70::/:\n";
    const GROUP: &str = "g:x:8:\nh:x:9:bob,ann\ni:x:10:annette\nj:x:8:ann\nbroken\n";

    #[test]
    fn accounts_by_name_and_number() {
        let ann = account(PASSWD, "ann").unwrap();
        assert_eq!((ann.uid, ann.home, ann.shell), (7, "/home/ann", "/bin/zsh"));
        assert_eq!(account(PASSWD, "7"), Some(ann), "the first of the file");
        assert_eq!(account(PASSWD, "bob").unwrap().home, "");
        assert_eq!(account(PASSWD, "no"), None);
        assert_eq!(accounts(PASSWD).count(), 4);
    }

    #[test]
    fn groups_are_those_it_is_a_member_of_each_once() {
        let user = account(PASSWD, "ann").unwrap().user(GROUP);
        assert_eq!(user, User { uid: 7, gid: 8, groups: vec![8, 9] });
        assert_eq!(group_id(GROUP, "i"), Some(10));
        assert_eq!(group_id(GROUP, "broken"), None);
    }
}
