//! Connections, watches, transactions: messages in, messages out, no input or output of its own.

use std::collections::{BTreeMap, VecDeque};

use super::tree::{Change, Limits, Node, Permission, Rights, Tree};
use crate::{
    error::Errno,
    path,
    wire::{Kind, Message, PAYLOAD_MAX, strings, terminated},
};

/// Names one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(u64);

#[derive(Debug)]
struct Client {
    domain: u32,
    watches: Vec<Watch>,
    transactions: BTreeMap<u32, Transaction>,
    last_transaction: u32,
    outgoing: VecDeque<Message>,
}

#[derive(Debug, PartialEq, Eq)]
struct Watch {
    path: String,
    /// As many bytes of a changed path are left out in the event: the watch was relative.
    cut: usize,
    token: String,
}

/// A copy of the tree, what was looked at, and what was done to it.
#[derive(Debug)]
struct Transaction {
    /// As it was at the start.
    start: Tree,
    tree: Tree,
    /// Path, and its generation at the start (`None`: it was not there).
    seen: BTreeMap<String, Option<u64>>,
    done: Vec<Done>,
}

#[derive(Debug, Clone)]
enum Done {
    Put(String, Option<Vec<u8>>),
    Remove(String),
    Permissions(String, Vec<Permission>),
}

type Answer = Result<Vec<u8>, Errno>;

/// A store: give it messages, take answers and events out.
#[derive(Debug)]
pub struct Store {
    tree: Tree,
    limits: Limits,
    clients: BTreeMap<Connection, Client>,
    last_connection: u64,
    /// So many commits are answered `EAGAIN` though nothing is in their way.
    pub(super) failing_commits: u32,
}

impl Store {
    /// An empty store with a root that is domain 0's.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            tree: Tree::new(limits.clone()),
            limits,
            clients: BTreeMap::new(),
            last_connection: 0,
            failing_commits: 0,
        }
    }

    /// Makes what a tool stack makes for a domain: its home, which it may read, and the folders it may write.
    pub fn introduce(&mut self, domain: u32) {
        let home = path::home(domain);
        let mut make = |path: String, owner: u32, others: Permission| {
            let permissions = vec![Permission { domain: owner, rights: Rights::NONE }, others];
            let made = self.tree.put(&path, 0, None);
            let set = self.tree.set_permissions(&path, 0, permissions);
            debug_assert!(made.is_ok() && set.is_ok(), "domain 0 may do all");
        };
        make(home.clone(), 0, Permission { domain, rights: Rights::READ });
        for name in ["data", "vm-data", "attr", "control", "feature"] {
            let dom0 = Permission { domain: 0, rights: Rights::NONE };
            make(format!("{home}/{name}"), domain, dom0);
        }
        let id = self.tree.put(&format!("{home}/domid"), 0, Some(domain.to_string().as_bytes()));
        debug_assert!(id.is_ok(), "domain 0 may do all");
    }

    /// A new connection of a domain.
    pub fn connect(&mut self, domain: u32) -> Connection {
        self.last_connection += 1;
        let connection = Connection(self.last_connection);
        let client = Client {
            domain,
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            outgoing: VecDeque::new(),
        };
        self.clients.insert(connection, client);
        connection
    }

    /// Ends a connection with its watches and transactions.
    pub fn disconnect(&mut self, connection: Connection) {
        self.clients.remove(&connection);
    }

    /// What has come up for a connection, answers and events in their order.
    pub fn take(&mut self, connection: Connection) -> Vec<Message> {
        let client = self.clients.get_mut(&connection);
        client.map(|c| c.outgoing.drain(..).collect()).unwrap_or_default()
    }

    /// How many nodes a domain owns.
    #[must_use]
    pub fn nodes_of(&self, domain: u32) -> usize {
        self.tree.owned_by(domain)
    }

    /// Does what a message asks for; the answer and events of all connections are then to be [taken](Self::take).
    pub fn handle(&mut self, connection: Connection, message: &Message) {
        let answer = self.answer(connection, message);
        let Some(client) = self.clients.get_mut(&connection) else { return };
        let first_event = message.kind() == Some(Kind::Watch) && answer.is_ok();
        let reply = match answer {
            Ok(payload) if payload.len() > PAYLOAD_MAX => Err(Errno::TooBig),
            other => other,
        };
        client.outgoing.push_back(match reply {
            Ok(payload) => Message { payload, ..message.clone() },
            Err(errno) => Message {
                kind: Kind::Error as u32,
                payload: terminated(&[errno.name()]),
                ..message.clone()
            },
        });
        if first_event {
            let payload = message.payload.clone();
            client.outgoing.push_back(Message::new(Kind::WatchEvent, 0, 0, payload));
        }
    }

    fn answer(&mut self, connection: Connection, message: &Message) -> Answer {
        let client = self.clients.get_mut(&connection).ok_or(Errno::Invalid)?;
        let domain = client.domain;
        let kind = message.kind().ok_or(Errno::NotImplemented)?;
        if message.transaction != 0 && !client.transactions.contains_key(&message.transaction) {
            return Err(Errno::NoEntry);
        }
        match kind {
            Kind::Watch => return self.watch(connection, &message.payload),
            Kind::Unwatch => {
                let watch = watch_of(domain, &message.payload)?;
                let before = client.watches.len();
                client.watches.retain(|w| *w != watch);
                return if client.watches.len() < before { ok() } else { Err(Errno::NoEntry) };
            }
            Kind::ResetWatches => {
                client.watches.clear();
                client.transactions.clear();
                return ok();
            }
            Kind::TransactionStart => return self.start(connection, message.transaction),
            Kind::TransactionEnd => return self.end(connection, message),
            Kind::GetDomainPath => {
                let number = one(&message.payload)?.parse().map_err(|_| Errno::Invalid)?;
                return Ok(terminated(&[&path::home(number)]));
            }
            _ => {}
        }
        let cut = message.payload.iter().position(|b| *b == 0).ok_or(Errno::Invalid)?;
        let (given, rest) = (&message.payload[..cut], &message.payload[cut + 1..]);
        let path = canonical(given, domain)?;
        let transaction = client.transactions.get_mut(&message.transaction);
        let tree = match &transaction {
            Some(transaction) => &transaction.tree,
            None => &self.tree,
        };
        let done = match kind {
            Kind::Write => Done::Put(path.clone(), Some(rest.to_vec())),
            Kind::Mkdir if rest.is_empty() => Done::Put(path.clone(), None),
            Kind::Rm if rest.is_empty() => Done::Remove(path.clone()),
            Kind::SetPerms => Done::Permissions(path.clone(), permissions(rest)?),
            _ => {
                let answer = look(tree, kind, &path, domain, rest);
                if let Some(transaction) = transaction {
                    transaction.see(&path);
                }
                return answer;
            }
        };
        match transaction {
            Some(transaction) => {
                transaction.see(&path);
                transaction.do_it(domain, done)?;
            }
            None => {
                let changes = apply(&mut self.tree, domain, &done)?;
                self.tell(&changes);
            }
        }
        ok()
    }

    fn watch(&mut self, connection: Connection, payload: &[u8]) -> Answer {
        let client = self.clients.get_mut(&connection).ok_or(Errno::Invalid)?;
        let watch = watch_of(client.domain, payload)?;
        if client.watches.contains(&watch) {
            return Err(Errno::Exists);
        }
        if client.domain != 0 && client.watches.len() >= self.limits.watches {
            return Err(Errno::TooBig);
        }
        client.watches.push(watch);
        ok()
    }

    fn start(&mut self, connection: Connection, within: u32) -> Answer {
        let client = self.clients.get_mut(&connection).ok_or(Errno::Invalid)?;
        if within != 0 {
            return Err(Errno::Busy);
        }
        if client.domain != 0 && client.transactions.len() >= self.limits.transactions {
            return Err(Errno::NoSpace);
        }
        client.last_transaction += 1;
        let number = client.last_transaction;
        let transaction = Transaction {
            start: self.tree.clone(),
            tree: self.tree.clone(),
            seen: BTreeMap::new(),
            done: Vec::new(),
        };
        client.transactions.insert(number, transaction);
        Ok(terminated(&[&number.to_string()]))
    }

    fn end(&mut self, connection: Connection, message: &Message) -> Answer {
        let client = self.clients.get_mut(&connection).ok_or(Errno::Invalid)?;
        let commit = match one(&message.payload)? {
            "T" => true,
            "F" => false,
            _ => return Err(Errno::Invalid),
        };
        let domain = client.domain;
        let transaction = client.transactions.remove(&message.transaction).ok_or(Errno::NoEntry)?;
        if !commit {
            return ok();
        }
        if self.failing_commits > 0 {
            self.failing_commits -= 1;
            return Err(Errno::Again);
        }
        if transaction.seen.iter().any(|(path, was)| self.tree.generation_of(path) != *was) {
            return Err(Errno::Again);
        }
        let mut tree = self.tree.clone();
        let mut changes = Vec::new();
        for done in &transaction.done {
            changes.extend(apply(&mut tree, domain, done).map_err(|_| Errno::Again)?);
        }
        self.tree = tree;
        self.tell(&changes);
        ok()
    }

    fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            let asked = Node {
                value: Vec::new(),
                permissions: change.permissions.clone(),
                children: Vec::new(),
                generation: 0,
            };
            for client in self.clients.values_mut() {
                if !asked.allows(client.domain, Rights::READ) {
                    continue;
                }
                for watch in &client.watches {
                    let told = if change.exact {
                        change.path == watch.path
                    } else {
                        path::is_within(&change.path, &watch.path)
                    };
                    if told {
                        let payload = terminated(&[&change.path[watch.cut..], &watch.token]);
                        let event = Message::new(Kind::WatchEvent, 0, 0, payload);
                        client.outgoing.push_back(event);
                    }
                }
            }
        }
    }
}

impl Transaction {
    /// Notes that the commit depends on the node.
    fn see(&mut self, path: &str) {
        self.seen.insert(path.to_owned(), self.start.generation_of(path));
    }

    fn do_it(&mut self, domain: u32, done: Done) -> Result<(), Errno> {
        apply(&mut self.tree, domain, &done)?;
        self.done.push(done);
        Ok(())
    }
}

fn apply(tree: &mut Tree, domain: u32, done: &Done) -> Result<Vec<Change>, Errno> {
    match done {
        Done::Put(path, value) => {
            Ok(tree.put(path, domain, value.as_deref())?.into_iter().collect())
        }
        Done::Remove(path) => tree.remove(path, domain),
        Done::Permissions(path, permissions) => {
            Ok(vec![tree.set_permissions(path, domain, permissions.clone())?])
        }
    }
}

fn look(tree: &Tree, kind: Kind, path: &str, domain: u32, rest: &[u8]) -> Answer {
    if kind != Kind::DirectoryPart && !rest.is_empty() {
        return Err(Errno::Invalid);
    }
    let node = tree.get(path, domain, Rights::READ);
    match kind {
        Kind::Read => Ok(node?.value.clone()),
        Kind::Directory => Ok(node?.list()),
        Kind::DirectoryPart => {
            let offset = one(rest)?.parse().map_err(|_| Errno::Invalid)?;
            Ok(part(node?, offset))
        }
        Kind::GetPerms => {
            let texts: Vec<String> = node?.permissions.iter().map(|p| p.text()).collect();
            Ok(terminated(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
        }
        _ => Err(Errno::NotImplemented),
    }
}

/// As many whole names as one message holds, and a NUL more when they are the last.
fn part(node: &Node, offset: usize) -> Vec<u8> {
    let mut answer = terminated(&[&node.generation.to_string()]);
    let list = node.list();
    if offset >= list.len() {
        answer.push(0);
        return answer;
    }
    let room = PAYLOAD_MAX - answer.len() - 1;
    let mut end = offset;
    while end < list.len() {
        let name = list[end..].iter().position(|b| *b == 0).unwrap_or(0);
        if end - offset + name >= room {
            break;
        }
        end += name + 1;
    }
    answer.extend_from_slice(&list[offset..end]);
    if end == list.len() {
        answer.push(0);
    }
    answer
}

fn ok() -> Answer {
    Ok(terminated(&["OK"]))
}

/// The only string of a payload.
fn one(payload: &[u8]) -> Result<&str, Errno> {
    let (0, text) = payload.split_last().ok_or(Errno::Invalid)? else { return Err(Errno::Invalid) };
    std::str::from_utf8(text).map_err(|_| Errno::Invalid)
}

fn canonical(given: &[u8], domain: u32) -> Result<String, Errno> {
    let given = std::str::from_utf8(given).map_err(|_| Errno::Invalid)?;
    if !path::is_valid(given) {
        return Err(Errno::Invalid);
    }
    Ok(path::absolute(given, &path::home(domain)))
}

fn watch_of(domain: u32, payload: &[u8]) -> Result<Watch, Errno> {
    let parts: Vec<&[u8]> = strings(payload).collect();
    let [given, token] = parts[..] else { return Err(Errno::Invalid) };
    let path = canonical(given, domain)?;
    let cut = path.len() - given.len();
    let token = String::from_utf8(token.to_vec()).map_err(|_| Errno::Invalid)?;
    Ok(Watch { path, cut, token })
}

fn permissions(payload: &[u8]) -> Result<Vec<Permission>, Errno> {
    let entries: Option<Vec<Permission>> =
        strings(payload).map(|e| Permission::parse(std::str::from_utf8(e).ok()?)).collect();
    entries.filter(|e| !e.is_empty()).ok_or(Errno::Invalid)
}
