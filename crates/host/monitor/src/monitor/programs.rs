//! Programs run in the node beside its first process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vnode_monitor::wire::{Answer, Event, Exec};

use super::Monitor;
use crate::child::{self, Child, Told};
use crate::console;
use crate::fail::{Doing, Fail, Result};

/// Programs run in the node at once by `exec`.
const MAX_EXECS: usize = 512;

/// A program of `exec`.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) id: u64,
    pub(super) child: Child,
    /// Master of its terminal until it is handed over, then a copy for resizing.
    tty: Option<OwnedFd>,
}

impl Monitor {
    pub(super) fn exec(&mut self, asked: (u64, u64), exec: &Exec, fds: Vec<OwnedFd>) -> Result<()> {
        if self.programs.len() >= MAX_EXECS {
            return Err(Fail(format!("{MAX_EXECS} programs are running in the node already")));
        }
        let init = self.running()?;
        let child = child::start_exec(exec, init, &self.namespaces, fds, asked)?;
        self.last_id += 1;
        self.programs.push(Program { id: self.last_id, child, tty: None });
        Ok(())
    }

    pub(super) fn program_told(&mut self, id: u64) {
        let Some(program) = self.programs.iter_mut().find(|p| p.id == id) else { return };
        match program.child.listen() {
            Told::Nothing | Told::Noted | Told::Failed => {}
            Told::Tty(master) => program.tty = Some(master),
            Told::Started => {
                let asked = program.child.asked.take();
                let tty = program.tty.as_ref().and_then(|t| rustix::io::dup(t).ok());
                if let Some((connection, request)) = asked {
                    let fds: Vec<BorrowedFd<'_>> = tty.iter().map(AsFd::as_fd).collect();
                    self.answer(connection, request, Answer::Exec { exec: id }, &fds);
                }
            }
        }
    }

    pub(super) fn program_ended(&mut self, id: u64) {
        for _ in 0..4 {
            self.program_told(id);
        }
        let Some(at) = self.programs.iter().position(|p| p.id == id) else { return };
        let (code, signal) = match child::reap(&self.programs[at].child.pidfd) {
            Ok(Some(end)) => end,
            Ok(None) => return,
            Err(_) => (None, None),
        };
        let mut program = self.programs.swap_remove(at);
        if let Some((connection, request)) = program.child.asked.take() {
            let step = program.child.failure.take().unwrap_or_else(|| {
                "ended while it was being set up: the node's first process has ended".to_owned()
            });
            self.answer(connection, request, Answer::Failed { step }, &[]);
        } else {
            self.tell(Event::ExecExited { exec: id, code, signal });
        }
    }

    pub(super) fn signal_program(&self, id: u64, signal: i32) -> Result<()> {
        // One that has ended has nothing left to be told.
        let Some(program) = self.programs.iter().find(|p| p.id == id) else { return Ok(()) };
        child::signal_group(program.child.id.pid, signal, signal == libc::SIGKILL)
            .doing(|| format!("send signal {signal}"))
    }

    pub(super) fn resize(&self, exec: Option<u64>, rows: u16, cols: u16) -> Result<()> {
        let what = || "set the window's size";
        match exec {
            None => self.console.resize(rows, cols).doing(what),
            Some(id) => match self.programs.iter().find(|p| p.id == id) {
                Some(Program { tty: Some(tty), .. }) => {
                    console::set_size(tty, rows, cols).doing(what)
                }
                Some(_) => Err(Fail("the program has no terminal".to_owned())),
                None => Ok(()),
            },
        }
    }
}
