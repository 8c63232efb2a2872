//! Whose a kernel object is: every interface made in the host's namespace bears a mark as its alias, every nftables
//! table as its comment. Clean-up acts on marked objects only (T-09).
//!
//! The mark is `vnode:<instance>:<lab>:<what>:<operation>`, with `%`, `:` and control characters inside a part written as
//! `%` and two hexadecimal digits.

use serde::{Deserialize, Serialize};

use crate::netlink::{Batch, rtnl};
use crate::nft::{self, Family};
use crate::{Host, Result, state};

/// The kernel keeps at most 255 bytes of an alias, nftables 255 of a comment with its NUL.
const MARK_MAX: usize = 250;

/// Who makes an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Tells daemons on one host apart.
    pub instance: String,
    /// Lab the object belongs to.
    pub lab: String,
    /// Operation that makes it.
    pub operation: String,
}

impl Owner {
    /// The mark of an object. `what` is cut when the mark would be too long for the kernel; instance, lab and operation are
    /// not, and have together at most 200 bytes in any sane use.
    pub fn mark(&self, what: &str) -> String {
        let (instance, lab) = (escape(&self.instance), escape(&self.lab));
        let operation = escape(&self.operation);
        let fixed = "vnode::::".len() + instance.len() + lab.len() + operation.len();
        let room = MARK_MAX.saturating_sub(fixed);
        let mut used = 0;
        let fits = |character: &char| {
            used += escape(character.encode_utf8(&mut [0; 4])).len();
            used <= room
        };
        let what = escape(&what.chars().take_while(fits).collect::<String>());
        format!("vnode:{instance}:{lab}:{what}:{operation}")
    }
}

/// Whose an object is, by its mark; `None` for anything that bears none.
pub fn owner_of(mark: &str) -> Option<Owner> {
    Mark::parse(mark).map(|mark| mark.owner)
}

/// A mark as read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) owner: Owner,
    pub(crate) what: String,
}

impl Mark {
    /// Reads a mark; `None` for anything else an alias or comment may say.
    pub(crate) fn parse(text: &str) -> Option<Mark> {
        let mut parts = text.strip_prefix("vnode:")?.split(':').map(unescape);
        let (instance, lab) = (parts.next()??, parts.next()??);
        let (what, operation) = (parts.next()??, parts.next()??);
        match parts.next() {
            None => Some(Mark { owner: Owner { instance, lab, operation }, what }),
            Some(_) => None,
        }
    }
}

fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for character in part.chars() {
        match character {
            '%' | ':' | '\0'..='\x1f' | '\x7f' => {
                escaped.push_str(&format!("%{:02x}", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

fn unescape(part: &str) -> Option<String> {
    let mut pieces = part.split('%');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let code = u8::from_str_radix(piece.get(..2)?, 16).ok().filter(u8::is_ascii)?;
        text.push(char::from(code));
        text.push_str(&piece[2..]);
    }
    Some(text)
}

/// An object of ours found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    pub kind: OwnedKind,
    /// Its name in the kernel.
    pub name: String,
    pub lab: String,
    /// What it is for, e.g. `lan lan1`.
    pub what: String,
    pub operation: String,
}

/// Kinds of objects that bear a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedKind {
    /// A network interface.
    Link,
    /// An nftables table of the `inet` family.
    InetTable,
    /// An nftables table of the `bridge` family.
    BridgeTable,
}

/// Everything in the host's namespace that bears a mark of `instance`, tables first: the order in which to remove.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn list_owned(host: &Host, instance: &str) -> Result<Vec<Owned>> {
    let mut owned = Vec::new();
    let mut add = |kind, name: &str, mark: &str| {
        let Some(Mark { owner, what }) = Mark::parse(mark) else { return };
        if owner.instance == instance {
            let Owner { lab, operation, .. } = owner;
            owned.push(Owned { kind, name: name.into(), lab, what, operation });
        }
    };
    for table in nft::tables(host.ns())? {
        let kind = match table.family {
            Some(Family::Inet) => OwnedKind::InetTable,
            Some(Family::Bridge) => OwnedKind::BridgeTable,
            _ => continue,
        };
        add(kind, &table.name, table.comment.as_deref().unwrap_or_default());
    }
    for link in state::interfaces(host.ns())? {
        add(OwnedKind::Link, &link.name, link.alias.as_deref().unwrap_or_default());
    }
    Ok(owned)
}

/// Removes one object found by [`list_owned`]. `false` when it is gone already or no longer bears a mark of `instance`.
///
/// # Errors
/// When the kernel refuses the removal.
pub fn remove(host: &Host, instance: &str, owned: &Owned) -> Result<bool> {
    let ours = |mark: Option<String>| {
        mark.and_then(|mark| Mark::parse(&mark)).is_some_and(|mark| mark.owner.instance == instance)
    };
    match owned.kind {
        OwnedKind::Link => {
            if !ours(state::alias(host.ns(), &owned.name)?.flatten()) {
                return Ok(false);
            }
            let mut batch = Batch::new();
            rtnl::delete_link(&mut batch, &owned.name);
            host.ns().change(&batch)?;
        }
        OwnedKind::InetTable | OwnedKind::BridgeTable => {
            let family = match owned.kind {
                OwnedKind::InetTable => Family::Inet,
                _ => Family::Bridge,
            };
            let tables = nft::tables(host.ns())?;
            let found = tables
                .into_iter()
                .find(|table| table.family == Some(family) && table.name == owned.name);
            if !ours(found.and_then(|table| table.comment)) {
                return Ok(false);
            }
            let mut transaction = nft::Transaction::new();
            transaction.remove_table(family, &owned.name);
            transaction.commit(host.ns())?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_reads_back(instance in "[a-z:%]{0,20}", lab in "\\PC{0,20}", what in "\\PC{0,120}") {
            let owner = Owner { instance, lab, operation: "op1".into() };
            let mark = owner.mark(&what);
            prop_assert!(mark.len() <= MARK_MAX);
            let read = Mark::parse(&mark).unwrap();
            prop_assert_eq!(&read.owner, &owner);
            prop_assert!(what.starts_with(&read.what));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            Mark::parse(&text);
            Mark::parse(&format!("vnode:{text}"));
        }
    }

    #[test]
    fn other_aliases_are_not_ours() {
        for text in ["", "vnode", "vnode:a:b:c", "vnode:a:b:c:d:e", "uplink", "vnode:%zz:b:c:d"] {
            assert_eq!(Mark::parse(text), None, "{text}");
        }
    }
}
