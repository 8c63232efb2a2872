//! A transaction: all of it takes effect, or none.

use super::expression::Rule;
use super::{Family, comment, generic, kind};
use crate::netlink::Batch;
use crate::ns::first_failure;
use crate::{Ns, Result};

/// Elements sent in one message: an attribute has at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// A transaction being written.
#[derive(Debug)]
pub(crate) struct Transaction {
    batch: Batch,
}

/// A chain. Without a hook it is one to jump to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain<'a> {
    pub(crate) name: &'a str,
    pub(crate) hook: Option<Hook<'a>>,
}

/// Where a base chain sees packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook<'a> {
    /// `filter`, `nat`.
    pub(crate) kind: &'a str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
    pub(crate) drop: bool,
    /// Interface, for the `netdev` family.
    pub(crate) device: Option<&'a str>,
}

/// A set, or a map when it has data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set<'a> {
    pub(crate) name: &'a str,
    /// Data type as `nft` numbers them, for its listings only; six bits for each part of a concatenation.
    pub(crate) key_type: u32,
    pub(crate) key_length: u32,
    /// Data type and length of a map's values.
    pub(crate) data: Option<(u32, u32)>,
}

/// A key, and the value in a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    pub(crate) data: Option<Vec<u8>>,
}

impl Transaction {
    pub(crate) fn new() -> Transaction {
        let mut batch = Batch::transaction();
        frame(&mut batch, libc::NFNL_MSG_BATCH_BEGIN);
        Transaction { batch }
    }

    /// Makes a table; an existing one is left as it is.
    pub(crate) fn table(&mut self, family: Family, name: &str, mark: &str) {
        let what = format!("make nftables table `{name}`");
        self.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, family, what)
            .text(1, name)
            .be32(2, 0)
            .bytes(6, &comment(mark));
    }

    /// Removes a table with all that is in it.
    pub(crate) fn remove_table(&mut self, family: Family, name: &str) {
        let what = format!("remove nftables table `{name}`");
        self.message(libc::NFT_MSG_DELTABLE, 0, family, what).text(1, name);
    }

    /// Makes a chain; an existing one is left as it is.
    pub(crate) fn chain(&mut self, family: Family, table: &str, chain: Chain<'_>) {
        let what = format!("make nftables chain `{}`", chain.name);
        let mut message = self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, family, what);
        message.text(1, table).text(3, chain.name);
        if let Some(hook) = chain.hook {
            message.nest(4, |attributes| {
                attributes.be32(1, hook.number).be32(2, hook.priority as u32);
                if let Some(device) = hook.device {
                    attributes.text(3, device);
                }
            });
            message.be32(5, u32::from(!hook.drop)).text(7, hook.kind);
        }
    }

    /// Removes a chain with its rules.
    pub(crate) fn remove_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.flush_chain(family, table, chain);
        let what = format!("remove nftables chain `{chain}`");
        self.message(libc::NFT_MSG_DELCHAIN, 0, family, what).text(1, table).text(3, chain);
    }

    /// Removes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, family: Family, table: &str, chain: &str) {
        let what = format!("empty nftables chain `{chain}`");
        self.message(libc::NFT_MSG_DELRULE, 0, family, what).text(1, table).text(2, chain);
    }

    /// Adds a rule at the end of a chain.
    pub(crate) fn rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        let what = format!("add a rule to nftables chain `{chain}`");
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(libc::NFT_MSG_NEWRULE, flags, family, what)
            .text(1, table)
            .text(2, chain)
            .nest(4, |list| rule.write(list));
    }

    /// Makes a set; an existing one is left as it is.
    pub(crate) fn set(&mut self, family: Family, table: &str, set: Set<'_>, number: u32) {
        const MAP: u32 = 8;
        let what = format!("make nftables set `{}`", set.name);
        let mut message = self.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, family, what);
        message
            .text(1, table)
            .text(2, set.name)
            .be32(3, if set.data.is_some() { MAP } else { 0 })
            .be32(4, set.key_type)
            .be32(5, set.key_length);
        if let Some((kind, length)) = set.data {
            message.be32(6, kind).be32(7, length);
        }
        message.be32(10, number);
    }

    /// Adds elements; ones that are there with the same value are success.
    pub(crate) fn add_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        self.elements(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, family, table, set, elements);
    }

    /// Removes elements, every one of which must be there.
    pub(crate) fn remove_elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        self.elements(libc::NFT_MSG_DELSETELEM, 0, family, table, set, elements);
    }

    fn elements(
        &mut self,
        message: i32,
        flags: i32,
        family: Family,
        table: &str,
        set: &str,
        elements: &[Element],
    ) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            let what = format!("change the elements of nftables set `{set}`");
            self.message(message, flags, family, what).text(1, table).text(2, set).nest(
                3,
                |list| {
                    for element in some {
                        list.nest(1, |parts| {
                            parts.nest(1, |key| {
                                key.bytes(1, &element.key);
                            });
                            if let Some(value) = &element.data {
                                parts.nest(2, |data| {
                                    data.bytes(1, value);
                                });
                            }
                        });
                    }
                },
            );
        }
    }

    /// Sends it.
    ///
    /// # Errors
    /// The first refusal; nothing of the transaction has then taken effect.
    pub(crate) fn commit(mut self, ns: &Ns) -> Result<()> {
        if self.batch.len() == 1 {
            return Ok(());
        }
        frame(&mut self.batch, libc::NFNL_MSG_BATCH_END);
        let batch = self.batch;
        first_failure(ns.with_netfilter(|socket| socket.run_transaction(&batch))?)
    }

    fn message(
        &mut self,
        message: i32,
        flags: i32,
        family: Family,
        what: String,
    ) -> crate::netlink::Message<'_> {
        self.batch.message(kind(message), flags, &generic(family.number()), what)
    }
}

/// Begin or end of a transaction: a generic header whose resource (big-endian) is nftables.
fn frame(batch: &mut Batch, message: i32) {
    let header = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
    batch.message(message as u16, 0, &header, "change nftables");
}
