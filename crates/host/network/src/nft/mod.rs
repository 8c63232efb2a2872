//! What this crate says to nftables: transactions, tables, chains, rules, sets and their elements.
//!
//! Attributes are those of `linux/netfilter/nf_tables.h`; numbers are big-endian.

mod expression;
mod transaction;

use crate::netlink::{Attributes, Batch, find, text};
use crate::{Ns, Result};

pub(crate) use expression::{
    Field, Rule, Verdict, concat, ct_state, ct_status, fib_is_local, interface_value, meta,
    nfproto, payload,
};
pub(crate) use transaction::{Chain, Element, Hook, Set, Transaction};

/// Protocol families of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Inet,
    Bridge,
    Netdev,
}

impl Family {
    /// `NFPROTO_*` of `linux/netfilter.h`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Netdev => 5,
            Family::Bridge => 7,
        }
    }
}

/// A table as the kernel lists it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// `None` for a family this crate does not use.
    pub(crate) family: Option<Family>,
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
}

/// A base chain as the kernel lists it.
#[derive(Debug, Clone)]
pub(crate) struct BaseChain {
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) hook: u32,
    /// 0 is drop, 1 accept.
    pub(crate) policy: u32,
}

/// Bytes of `struct nfgenmsg`, before the attributes.
const GENERIC: usize = 4;

fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8) as u16 | message as u16
}

fn generic(family: u8) -> [u8; GENERIC] {
    [family, 0, 0, 0]
}

fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_be_bytes)
}

fn question(message: i32, family: u8) -> Batch {
    let mut batch = Batch::question();
    batch.message(kind(message), libc::NLM_F_DUMP, &generic(family), "list nftables");
    batch
}

fn list(ns: &Ns, batch: &Batch, each: impl FnMut(u8, Attributes<'_>)) -> Result<()> {
    let mut each = each;
    let answer = ns.with_netfilter(|socket| {
        socket.ask(batch, |_, body| {
            if let Some(family) = body.first() {
                each(*family, Attributes::after(body, GENERIC));
            }
        })
    })?;
    match answer {
        Ok(()) => Ok(()),
        Err(source) => {
            Err(crate::Error::Refused { action: "list nftables objects".into(), source })
        }
    }
}

/// All tables of a namespace.
pub(crate) fn tables(ns: &Ns) -> Result<Vec<Table>> {
    let mut found = Vec::new();
    list(ns, &question(libc::NFT_MSG_GETTABLE, 0), |family, attributes| {
        let family = [Family::Inet, Family::Bridge, Family::Netdev]
            .into_iter()
            .find(|known| known.number() == family);
        // NFTA_TABLE_NAME, NFTA_TABLE_USERDATA
        if let Some(name) = find(attributes.clone(), 1) {
            let comment = find(attributes, 6).and_then(parse_comment);
            found.push(Table { family, name: text(name), comment });
        }
    })?;
    Ok(found)
}

/// All base chains of a namespace.
pub(crate) fn base_chains(ns: &Ns) -> Result<Vec<BaseChain>> {
    let mut found = Vec::new();
    list(ns, &question(libc::NFT_MSG_GETCHAIN, 0), |family, attributes| {
        let value = |kind| find(attributes.clone(), kind);
        // NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY
        let chain = (|| {
            Some(BaseChain {
                family,
                table: text(value(1)?),
                name: text(value(3)?),
                hook: be32(find(Attributes::new(value(4)?), 1)?)?,
                policy: be32(value(5)?)?,
            })
        })();
        found.extend(chain);
    })?;
    Ok(found)
}

/// Whether a table is there.
pub(crate) fn has_table(ns: &Ns, family: Family, name: &str) -> Result<bool> {
    Ok(tables(ns)?.iter().any(|table| table.family == Some(family) && table.name == name))
}

/// Keys and values of a set or map, as the kernel has them; empty when there is no such set.
pub(crate) fn elements(
    ns: &Ns,
    family: Family,
    table: &str,
    set: &str,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut batch = Batch::question();
    batch
        .message(
            kind(libc::NFT_MSG_GETSETELEM),
            libc::NLM_F_DUMP,
            &generic(family.number()),
            "list elements",
        )
        .text(1, table)
        .text(2, set);
    read_elements(ns, &batch)
}

/// The value a map has for a key: what [`elements`] would find, without listing all. `None` when there is no such key or map.
pub(crate) fn value(
    ns: &Ns,
    family: Family,
    table: &str,
    map: &str,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    let mut batch = Batch::question();
    batch
        .message(kind(libc::NFT_MSG_GETSETELEM), 0, &generic(family.number()), "look up an element")
        .text(1, table)
        .text(2, map)
        .nest(3, |list| {
            list.nest(1, |element| {
                element.nest(1, |value| {
                    value.bytes(1, key);
                });
            });
        });
    let found = read_elements(ns, &batch)?.into_iter().find(|(found, _)| found == key);
    Ok(found.map(|(_, data)| data))
}

fn read_elements(ns: &Ns, batch: &Batch) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let listed = list(ns, batch, |_, attributes| {
        let Some(list) = find(attributes, 3) else { return }; // NFTA_SET_ELEM_LIST_ELEMENTS
        for (_, element) in Attributes::new(list) {
            // NFTA_SET_ELEM_KEY and _DATA hold NFTA_DATA_VALUE.
            let part = |kind| {
                let data = find(Attributes::new(element), kind)?;
                find(Attributes::new(data), 1).map(<[u8]>::to_vec)
            };
            if let Some(key) = part(1) {
                found.push((key, part(2).unwrap_or_default()));
            }
        }
    });
    match listed {
        Err(crate::Error::Refused { source, .. }) if source.errno == libc::ENOENT => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// Reads the comment out of a table's user data: type, length, value records as `libnftnl` writes them.
fn parse_comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(text(value));
        }
        data = &rest[usize::from(*length)..];
    }
    None
}

fn comment(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(254)];
    let mut data = vec![0, text.len() as u8 + 1];
    data.extend_from_slice(text);
    data.push(0);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_reads_back_and_nothing_panics() {
        assert_eq!(parse_comment(&comment("vnode:a:b:c:d")).as_deref(), Some("vnode:a:b:c:d"));
        for data in [&[][..], &[0], &[0, 5, 1], &[1, 0, 0], &[7, 1, 9, 0, 2, b'x', 0]] {
            parse_comment(data);
        }
    }
}
