//! The nodes: values, owners, rights, quotas.

use std::collections::BTreeMap;

use crate::{error::Errno, path};

/// What one domain may take. Domain 0 is not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a node: 24, 8 for each permission, its value, and the names of its children with a NUL each. A
    /// node of this size is refused already.
    pub node_bytes: usize,
    pub nodes: usize,
    pub watches: usize,
    pub transactions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { node_bytes: 2048, nodes: 1000, watches: 128, transactions: 10 }
    }
}

/// Bytes of a node's record before its permissions.
const RECORD_HEADER: usize = 24;
const PERMISSION_BYTES: usize = 8;

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
}

impl Rights {
    pub const NONE: Self = Self { read: false, write: false };
    pub const READ: Self = Self { read: true, write: false };
    pub const WRITE: Self = Self { read: false, write: true };
    pub const BOTH: Self = Self { read: true, write: true };

    fn allows(self, wanted: Self) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// One entry of a node's permissions. The first names the owner, and what everybody else may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    pub domain: u32,
    pub rights: Rights,
}

impl Permission {
    /// `n0`, `r5`, `w5`, `b5`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, domain) = text.split_at_checked(1)?;
        let rights = match kind {
            "n" => Rights::NONE,
            "r" => Rights::READ,
            "w" => Rights::WRITE,
            "b" => Rights::BOTH,
            _ => return None,
        };
        Some(Self { domain: domain.parse().ok()?, rights })
    }

    #[must_use]
    pub fn text(self) -> String {
        let kind = match (self.rights.read, self.rights.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        format!("{kind}{}", self.domain)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Vec<u8>,
    pub(super) permissions: Vec<Permission>,
    /// In the order they were made, as the daemon lists them.
    pub(super) children: Vec<String>,
    /// Changes with the node; transactions and parts of lists are checked by it.
    pub(super) generation: u64,
}

impl Node {
    pub(super) fn owner(&self) -> u32 {
        self.permissions.first().map_or(0, |p| p.domain)
    }

    pub(super) fn allows(&self, domain: u32, wanted: Rights) -> bool {
        if domain == 0 || self.owner() == domain {
            return true;
        }
        let own = self.permissions.iter().skip(1).find(|p| p.domain == domain);
        own.or(self.permissions.first()).is_some_and(|p| p.rights.allows(wanted))
    }

    /// The names of the children as the daemon keeps them, each with its NUL.
    pub(super) fn list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for name in &self.children {
            list.extend_from_slice(name.as_bytes());
            list.push(0);
        }
        list
    }

    fn bytes(&self) -> usize {
        RECORD_HEADER
            + PERMISSION_BYTES * self.permissions.len()
            + self.value.len()
            + self.children.iter().map(|name| name.len() + 1).sum::<usize>()
    }
}

/// A change to a path, as watches are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: String,
    /// Told only to watches of exactly this path: it went with the node above, whose watches are told of that.
    pub(super) exact: bool,
    /// Who could read it: a node that is gone cannot be asked any more.
    pub(super) permissions: Vec<Permission>,
}

/// All nodes, by absolute path.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    generation: u64,
    limits: Limits,
}

impl Tree {
    pub(super) fn new(limits: Limits) -> Self {
        let root = Node {
            value: Vec::new(),
            permissions: vec![Permission { domain: 0, rights: Rights::NONE }],
            children: Vec::new(),
            generation: 0,
        };
        Self { nodes: BTreeMap::from([("/".to_owned(), root)]), generation: 0, limits }
    }

    pub(super) fn generation_of(&self, path: &str) -> Option<u64> {
        self.nodes.get(path).map(|node| node.generation)
    }

    pub(super) fn owned_by(&self, domain: u32) -> usize {
        self.nodes.values().filter(|node| node.owner() == domain).count()
    }

    /// The node, if `domain` has the rights. Who may not even look above is not told whether it is there.
    pub(super) fn get(&self, path: &str, domain: u32, wanted: Rights) -> Result<&Node, Errno> {
        match self.nodes.get(path) {
            Some(node) if node.allows(domain, wanted) => Ok(node),
            Some(_) => Err(Errno::Access),
            None => {
                let mut above = path::parent(path);
                while let Some(at) = above {
                    if let Some(node) = self.nodes.get(at) {
                        let visible = node.allows(domain, wanted);
                        return Err(if visible { Errno::NoEntry } else { Errno::Access });
                    }
                    above = path::parent(at);
                }
                Err(Errno::NoEntry)
            }
        }
    }

    fn touch(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn check_size(&self, node: &Node, domain: u32) -> Result<(), Errno> {
        if domain != 0 && node.bytes() >= self.limits.node_bytes {
            return Err(Errno::NoSpace);
        }
        Ok(())
    }

    /// Sets a value, or (`None`) makes the node if it is missing.
    pub(super) fn put(
        &mut self,
        path: &str,
        domain: u32,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Errno> {
        match self.get(path, domain, Rights::WRITE) {
            Ok(node) => {
                let Some(value) = value else { return Ok(None) };
                let mut node = Node { value: value.to_vec(), ..node.clone() };
                self.check_size(&node, domain)?;
                node.generation = self.touch();
                let permissions = node.permissions.clone();
                self.nodes.insert(path.to_owned(), node);
                Ok(Some(Change { path: path.to_owned(), exact: false, permissions }))
            }
            Err(Errno::NoEntry) => {
                // Made on a copy, so that a refusal half-way leaves nothing behind.
                let mut copy = self.clone();
                copy.make(path, domain, value.unwrap_or_default())?;
                *self = copy;
                let permissions = self.nodes[path].permissions.clone();
                Ok(Some(Change { path: path.to_owned(), exact: false, permissions }))
            }
            Err(errno) => Err(errno),
        }
    }

    fn make(&mut self, path: &str, domain: u32, value: &[u8]) -> Result<(), Errno> {
        let above = path::parent(path).ok_or(Errno::Invalid)?.to_owned();
        if !self.nodes.contains_key(&above) {
            self.make(&above, domain, b"")?;
        }
        if domain != 0 && self.owned_by(domain) >= self.limits.nodes {
            return Err(Errno::NoSpace);
        }
        let generation = self.touch();
        let parent = self.nodes.get_mut(&above).ok_or(Errno::NoEntry)?;
        parent.children.push(path::name(path).to_owned());
        parent.generation = generation;
        let mut permissions = parent.permissions.clone();
        // Unprivileged domains own what they make.
        if domain != 0
            && let Some(first) = permissions.first_mut()
        {
            first.domain = domain;
        }
        let parent = parent.clone();
        let node = Node { value: value.to_vec(), permissions, children: Vec::new(), generation };
        self.check_size(&parent, domain)?;
        self.check_size(&node, domain)?;
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Removes a node with all below it.
    pub(super) fn remove(&mut self, path: &str, domain: u32) -> Result<Vec<Change>, Errno> {
        match self.get(path, domain, Rights::WRITE) {
            Ok(_) => {}
            Err(Errno::NoEntry) => {
                // Nothing to do, if what is above is there.
                let above = path::parent(path).is_some_and(|p| self.nodes.contains_key(p));
                return if above { Ok(Vec::new()) } else { Err(Errno::NoEntry) };
            }
            Err(errno) => return Err(errno),
        }
        let above = path::parent(path).ok_or(Errno::Invalid)?.to_owned();
        let below: Vec<String> =
            self.nodes.keys().filter(|p| path::is_within(p, path)).cloned().collect();
        let mut changes = Vec::new();
        for gone in below {
            let Some(node) = self.nodes.remove(&gone) else { continue };
            let exact = gone != path;
            changes.push(Change { path: gone, exact, permissions: node.permissions });
        }
        let generation = self.touch();
        if let Some(parent) = self.nodes.get_mut(&above) {
            parent.children.retain(|name| name != path::name(path));
            parent.generation = generation;
        }
        Ok(changes)
    }

    pub(super) fn set_permissions(
        &mut self,
        path: &str,
        domain: u32,
        permissions: Vec<Permission>,
    ) -> Result<Change, Errno> {
        let node = self.get(path, domain, Rights::WRITE)?;
        let owner = permissions.first().ok_or(Errno::Invalid)?.domain;
        if domain != 0 && node.owner() != domain {
            return Err(Errno::Access);
        }
        if domain != 0 && owner != node.owner() {
            return Err(Errno::NotPermitted);
        }
        let mut node = Node { permissions, ..node.clone() };
        self.check_size(&node, domain)?;
        node.generation = self.touch();
        let permissions = node.permissions.clone();
        self.nodes.insert(path.to_owned(), node);
        Ok(Change { path: path.to_owned(), exact: false, permissions })
    }
}
