//! A process that is looked at, for every function that it may belong to: what `/proc` tells of it is read when the first
//! of them asks, and once.

use std::cell::OnceCell;

use vnode_processes::proc::{self, Stat};

use super::Identity;

/// See the module. It is of one moment: not to be kept.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) pid: i32,
    /// The kernel's name of it.
    pub(crate) comm: &'a [u8],
    arguments: OnceCell<Vec<Vec<u8>>>,
    exe: OnceCell<Option<Vec<u8>>>,
    owner: OnceCell<Option<u32>>,
    stat: OnceCell<Option<Stat>>,
    groups: OnceCell<Vec<u8>>,
    here: OnceCell<bool>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(pid: i32, comm: &'a [u8]) -> Self {
        Self {
            pid,
            comm,
            arguments: OnceCell::new(),
            exe: OnceCell::new(),
            owner: OnceCell::new(),
            stat: OnceCell::new(),
            groups: OnceCell::new(),
            here: OnceCell::new(),
        }
    }

    pub(super) fn arguments(&self) -> &[Vec<u8>] {
        self.arguments.get_or_init(|| proc::command_line(self.pid))
    }

    pub(super) fn exe(&self) -> Option<&[u8]> {
        self.exe.get_or_init(|| proc::exe(self.pid)).as_deref()
    }

    pub(super) fn owner(&self) -> Option<u32> {
        *self.owner.get_or_init(|| proc::owner(self.pid))
    }

    pub(super) fn is_of_unit(&self, unit: &str) -> bool {
        proc::is_of_unit(self.groups.get_or_init(|| proc::groups(self.pid)), unit)
    }

    /// `None`: it has gone.
    pub(crate) fn stat(&self) -> Option<Stat> {
        *self.stat.get_or_init(|| proc::stat(self.pid))
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.stat().map(|stat| Identity { pid: self.pid, start: stat.start })
    }

    /// Ended and not reaped is as good as gone.
    pub(super) fn alive(&self) -> bool {
        self.stat().is_some_and(Stat::alive)
    }

    pub(super) fn in_our_namespace(&self) -> bool {
        *self.here.get_or_init(|| proc::in_our_namespace(self.pid))
    }
}
