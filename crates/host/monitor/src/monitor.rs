//! The monitor of one node: one thread, one poll, and a timer only in the moment after the node's end.
//!
//! ```text
//!            ┌── listening socket, connections of daemons ──┐
//!  poll ─────┼── console stream, those attached to it       ├──▶ state, record, events
//!            └── status and pidfd of the first process and of each exec
//! ```
//!
//! It lives in the node's network namespace and so holds it (R-7). No signal but SIGKILL ends it (R-5).

mod first;
mod programs;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use vnode_monitor::packet;
use vnode_monitor::wire::{
    Answer, Ask, Event, Message, Net, Pid, Request, SOCKET, Spawn, State, VERSION, start_time,
};

use crate::child::{self, Child};
use crate::console::Console;
use crate::fail::{Doing, Fail, Result};
use crate::{loopback, record, spawner};

use self::programs::Program;

/// Daemons that may be connected at once: the one that runs, the one that comes after it, and a tool.
const MAX_CONNECTIONS: usize = 4;

#[derive(Debug)]
struct Connection {
    id: u64,
    socket: OwnedFd,
    gone: bool,
}

#[derive(Debug)]
struct Monitor {
    dir: OwnedFd,
    listener: OwnedFd,
    connections: Vec<Connection>,
    state: State,
    /// The first process, from its clone to its end.
    init: Option<Child>,
    /// The root of the first process: its exit is not held up by the end of the overlay.
    root: Option<OwnedFd>,
    /// When the last run's root is let go of, unless it is handed over before.
    release_at: Option<Instant>,
    /// The process that lets go of the last run's root.
    releasing: Option<child::Aside>,
    programs: Vec<Program>,
    console: Console,
    namespaces: child::Own,
    /// Where the processes of the node are found when they do not end with the first one.
    group: Option<String>,
    oom_file: Option<String>,
    oom_before: u64,
    last_id: u64,
    /// Told to end; done when the last process of the node is reaped.
    quitting: Option<Quitting>,
}

#[derive(Debug, Clone, Copy)]
struct Quitting {
    asked: (u64, u64),
    hand_over: bool,
}

enum Source {
    Listener,
    Connection(u64),
    Console,
    Attached(usize),
    InitStatus,
    InitEnd,
    ProgramStatus(u64),
    ProgramEnd(u64),
    Released,
    HelperEnd,
}

/// Becomes the monitor; returns when it is told to quit.
pub(crate) fn run(
    spawn: &Spawn,
    dir: OwnedFd,
    first: OwnedFd,
    join: Option<OwnedFd>,
) -> Result<()> {
    spawner::close_all_but(
        &mut [Some(dir.as_fd()), Some(first.as_fd()), join.as_ref().map(AsFd::as_fd)]
            .into_iter()
            .flatten()
            .collect::<Vec<BorrowedFd<'_>>>(),
    );
    become_own_process(&spawn.name)?;
    match start(spawn, dir, join) {
        Ok((mut monitor, route)) => {
            let hello = Message::Event(Event::Hello(monitor.state.clone()));
            let fds: Vec<BorrowedFd<'_>> = route.iter().map(AsFd::as_fd).collect();
            // A daemon that is gone already will never know of this monitor: end with it.
            packet::send(&first, &hello, &fds).doing(|| "greet the daemon")?;
            drop(route);
            monitor.add_connection(first);
            monitor.serve()
        }
        Err(Fail(step)) => {
            let message = Message::Answer { id: 0, answer: Answer::Failed { step } };
            packet::send(&first, &message, &[]).doing(|| "tell the daemon")
        }
    }
}

fn become_own_process(name: &str) -> Result<()> {
    rustix::process::setsid().doing(|| "setsid")?;
    // SAFETY: the default needs no handler; children are waited for by their pidfd.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let short: String = format!("vnode:{name}").chars().take(15).collect();
    let short = std::ffi::CString::new(short).doing(|| "name of the process")?;
    rustix::thread::set_name(&short).doing(|| "name of the process")
}

/// From here on only SIGKILL ends this process, and those that it forks. Signals are held back, not ignored: a node's
/// program gets all of them back in one call.
pub(crate) fn heed_no_signals() {
    // SAFETY: an empty set is all zeroes, which the call below writes in any case.
    let mut held: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes the set.
    unsafe { libc::sigemptyset(&raw mut held) };
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTERM,
        libc::SIGPIPE,
    ] {
        // SAFETY: the default action needs no handler. Ignored signals would stay so through a program's exec.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: a valid signal, into a set made above.
        unsafe { libc::sigaddset(&raw mut held, signal) };
    }
    // SAFETY: the set lives through the call; no old one is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const held, std::ptr::null_mut()) };
}

/// The monitor, and the netlink socket of a network namespace that was made.
fn start(spawn: &Spawn, dir: OwnedFd, join: Option<OwnedFd>) -> Result<(Monitor, Option<OwnedFd>)> {
    let namespaces = child::Own::enter(spawn, join)?;
    let route = match spawn.net {
        Net::Own => Some(loopback::up().doing(|| "take the loopback interface up")?),
        Net::Host | Net::Join => None,
    };
    let listener = listen_in(&dir, spawn.fresh)
        .doing(|| format!("listen on `{SOCKET}` in the node's folder"))?;
    let own = std::process::id();
    let earlier = if spawn.fresh { None } else { record::read(&dir) }.unwrap_or_default();
    let state = State {
        version: VERSION,
        monitor: Pid { pid: own, start: start_time(own).doing(|| "read /proc/self/stat")? },
        init: None,
        started_unix_ms: earlier.started_unix_ms,
        boots: earlier.boots,
        last_exit: earlier.last_exit,
    };
    record::write(&dir, &state).doing(|| "write the state record")?;
    let monitor = Monitor {
        dir,
        listener,
        connections: Vec::new(),
        state,
        init: None,
        root: None,
        release_at: None,
        releasing: None,
        programs: Vec::new(),
        console: Console::new(),
        namespaces,
        group: None,
        oom_file: None,
        oom_before: 0,
        last_id: 0,
        quitting: None,
    };
    Ok((monitor, route))
}

/// The folder's path may be longer than a socket address: bind through the open folder.
fn listen_in(dir: &OwnedFd, fresh: bool) -> io::Result<OwnedFd> {
    if !fresh {
        match rustix::fs::unlinkat(dir, SOCKET, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The spawner's mask makes it root's alone.
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
        .and_then(|address| bind(&socket, &address))?;
    listen(&socket, 8)?;
    Ok(socket)
}

impl Monitor {
    fn serve(&mut self) -> Result<()> {
        loop {
            let (sources, ready) = self.wait()?;
            for (source, flags) in sources.into_iter().zip(ready) {
                if flags.is_empty() {
                    continue;
                }
                self.handle(source, flags);
            }
            self.connections.retain(|c| !c.gone);
            if self.release_at.is_some_and(|at| Instant::now() >= at) {
                self.release();
            }
            if let Some(Quitting { asked: (connection, id), hand_over }) = self.quitting
                && self.init.is_none()
                && self.programs.is_empty()
                // Who removes the folder while the overlay lets go of it makes the kernel spin until that is done.
                && self.releasing.is_none()
            {
                let root = self.root.take().filter(|_| hand_over);
                let fds: Vec<BorrowedFd<'_>> = root.iter().map(AsFd::as_fd).collect();
                self.answer(connection, id, Answer::Done, &fds);
                return Ok(());
            }
        }
    }

    /// Waits for the next thing to happen.
    fn wait(&self) -> Result<(Vec<Source>, Vec<PollFlags>)> {
        let mut sources = vec![Source::Listener];
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(stream) = &self.console.stream {
            let out = if self.console.is_blocked() { PollFlags::OUT } else { PollFlags::empty() };
            add(Source::Console, stream.as_fd(), PollFlags::IN | out);
        }
        if !self.console.is_blocked() {
            for (index, to) in self.console.attached.iter().enumerate() {
                add(Source::Attached(index), to.as_fd(), PollFlags::IN);
            }
        }
        // Status before end: an error text is read before the process that sent it is reaped.
        if let Some(init) = &self.init {
            if let Some(status) = &init.status {
                add(Source::InitStatus, status.as_fd(), PollFlags::IN);
            }
            add(Source::InitEnd, init.pidfd.as_fd(), PollFlags::IN);
        }
        if let Some(releasing) = &self.releasing {
            add(Source::Released, releasing.pidfd().as_fd(), PollFlags::IN);
        }
        if let Some(helper) = &self.namespaces.helper {
            add(Source::HelperEnd, helper.pidfd().as_fd(), PollFlags::IN);
        }
        for program in &self.programs {
            if let Some(status) = &program.child.status {
                add(Source::ProgramStatus(program.id), status.as_fd(), PollFlags::IN);
            }
            add(Source::ProgramEnd(program.id), program.child.pidfd.as_fd(), PollFlags::IN);
        }
        for connection in &self.connections {
            add(Source::Connection(connection.id), connection.socket.as_fd(), PollFlags::IN);
        }
        loop {
            let left = self.release_at.map(|at| {
                let left = at.saturating_duration_since(Instant::now());
                // A part of a millisecond more, not less: it must have come when this returns.
                Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) + 1 }
            });
            match poll(&mut fds, left.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(Fail(format!("poll: {e}"))),
            }
        }
        Ok((sources, fds.iter().map(PollFd::revents).collect()))
    }

    fn handle(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Connection(id) => self.receive(id),
            Source::Console => {
                if flags.contains(PollFlags::OUT) {
                    self.console.flush();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.console.pump(&self.dir, 8);
                }
            }
            Source::Attached(index) => {
                // Another one may have gone in this round and the places shifted: then the next round sees it.
                if index < self.console.attached.len() && !self.console.typed(index) {
                    self.console.attached.remove(index);
                }
            }
            Source::InitStatus => self.init_tells_all(),
            Source::InitEnd => self.init_ended(),
            Source::ProgramStatus(id) => self.program_told(id),
            Source::ProgramEnd(id) => self.program_ended(id),
            Source::Released => {
                self.releasing = self.releasing.take().and_then(child::Aside::reap);
            }
            Source::HelperEnd => {
                self.namespaces.helper = self.namespaces.helper.take().and_then(child::Aside::reap);
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // One that went away before it was accepted is nobody.
        let Ok(socket) = accept_with(&self.listener, flags) else { return };
        let own = rustix::process::geteuid();
        // The mode of the socket says so too; this holds when the folder's file system has no modes.
        let known = rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid.is_root() || peer.uid == own);
        if known && self.connections.len() < MAX_CONNECTIONS {
            self.add_connection(socket);
        }
    }

    fn add_connection(&mut self, socket: OwnedFd) {
        if rustix::io::ioctl_fionbio(&socket, true).is_ok() {
            self.last_id += 1;
            self.connections.push(Connection { id: self.last_id, socket, gone: false });
        }
    }

    fn receive(&mut self, id: u64) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == id && !c.gone) else {
            return;
        };
        let packet = match packet::receive(&connection.socket) {
            Ok(Some(packet)) => packet,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Ok(None) | Err(_) => {
                connection.gone = true;
                return;
            }
        };
        let request: Request = match packet.parse() {
            Ok(request) => request,
            Err(e) => {
                // Without its number it cannot be answered by it; 0 is nobody's.
                self.answer(id, 0, Answer::Failed { step: format!("read the request: {e}") }, &[]);
                return;
            }
        };
        let asked = (id, request.id);
        let answer = match request.ask {
            Ask::State => Ok(Some(Answer::State(self.state.clone()))),
            Ask::Boot(boot) => self.boot(asked, &boot, packet.fds).map(|()| None),
            Ask::Exec(exec) => self.exec(asked, &exec, packet.fds).map(|()| None),
            Ask::Signal { signal } => self.signal(signal).map(|()| Some(Answer::Done)),
            Ask::ExecSignal { exec, signal } => {
                self.signal_program(exec, signal).map(|()| Some(Answer::Done))
            }
            Ask::Resize { exec, rows, cols } => {
                self.resize(exec, rows, cols).map(|()| Some(Answer::Done))
            }
            Ask::Console => {
                match self.console.attach(&self.dir).doing(|| "attach to the console") {
                    Ok(end) => {
                        self.answer(id, request.id, Answer::Done, &[end.as_fd()]);
                        Ok(None)
                    }
                    Err(fail) => Err(fail),
                }
            }
            Ask::Settle => self.settle().map(|()| Some(Answer::Done)),
            Ask::Quit { kill, hand_over } => {
                if self.init.is_none() || kill {
                    if let Some(init) = &self.init {
                        // It may have ended by itself this instant.
                        let _ = child::signal(&init.pidfd, libc::SIGKILL);
                    }
                    self.quitting = Some(Quitting { asked, hand_over });
                    Ok(None)
                } else {
                    Err(Fail("the node is running".to_owned()))
                }
            }
        };
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(id, request.id, answer, &[]),
            Err(Fail(step)) => self.answer(id, request.id, Answer::Failed { step }, &[]),
        }
    }

    fn answer(&mut self, connection: u64, id: u64, answer: Answer, fds: &[BorrowedFd<'_>]) {
        if let Some(to) = self.connections.iter_mut().find(|c| c.id == connection) {
            // A daemon that does not take its answers is let go; it asks for the state when it comes back.
            to.gone |= packet::send(&to.socket, &Message::Answer { id, answer }, fds).is_err();
        }
    }

    fn tell(&mut self, event: Event) {
        let message = Message::Event(event);
        for to in &mut self.connections {
            to.gone |= packet::send(&to.socket, &message, &[]).is_err();
        }
    }

    fn write_record(&self) {
        // A full disk: the daemon has been told, and asks this process, not the record, while it lives.
        let _ = record::write(&self.dir, &self.state);
    }

    fn oom_kills(&self) -> u64 {
        self.oom_file
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
            .and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            })
            .unwrap_or(0)
    }

    fn running(&self) -> Result<&Child> {
        match &self.init {
            Some(init) if self.state.init.is_some() => Ok(init),
            _ => Err(Fail("the node is not running".to_owned())),
        }
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let first = match &self.init {
            // A set-up that does not come to its end can be killed; other signals are for the node's own program.
            Some(setting_up) if signal == libc::SIGKILL => setting_up,
            _ => self.running()?,
        };
        child::signal(&first.pidfd, signal).doing(|| format!("send signal {signal}"))
    }
}
