//! The same where the kernel tells the agent nothing: a service in a namespace of its own, and a host that tells it.
//!
//! The host's daemon sorts what the kernel tells by namespace and passes it on; here that is done by a thread of ours, in
//! the same words and over the same two programs, for a daemon of its own would change this machine.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use vnode_processes::{Connector, Sighting, Told, Word, proc};
use vnode_testkit::eventually;

use super::{HOOKS, hooks};
use crate::table::Table;

/// A program with everything below it in a namespace of process numbers.
struct Node {
    unshare: Child,
    first: i32,
}

impl Node {
    fn start(program: &Path, state: &Path) -> Node {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--net"]).arg(program);
        command.args(["vnf", "--state-dir"]).arg(state).arg("serve");
        let unshare = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("unshare");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let first = eventually("the service is there", Duration::from_secs(30), || {
            let text = std::fs::read_to_string(&children).unwrap_or_default();
            text.split_whitespace().next()?.parse().ok()
        });
        Node { unshare, first }
    }

    /// A program inside.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--pid", "--mount", "--target", &self.first.to_string(), "--"]).arg(program);
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.unshare.kill().and_then(|()| self.unshare.wait()).expect("it is ours");
    }
}

/// From here on this thread's children are processes of the namespace that `first` is the first of.
fn enter(first: i32) {
    let first = rustix::process::Pid::from_raw(first).expect("a number of a process");
    let first = rustix::process::pidfd_open(first, rustix::process::PidfdFlags::empty());
    let first = first.expect("it lives");
    let kind = rustix::thread::ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(first.as_fd(), kind).expect("we are root");
}

pub(super) fn measure(table: &mut Table, dir: &Path, program: &Path, package: &str, target: &Path) {
    let state = dir.join("by-host");
    let node = Node::start(program, &state);
    let vnf = |words: &[&str]| {
        let mut command = node.command(program);
        command.args(["vnf", "--state-dir"]).arg(&state).args(words).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().expect("it runs").success()
    };
    eventually("the service serves", Duration::from_secs(30), || vnf(&["info"]).then_some(()));
    assert!(vnf(&["push", package, "--instantiate"]), "the package is taken");

    let mut attend = node.command(program);
    attend.args(["vnf", "--state-dir"]).arg(&state).args(["attend", "--processes"]);
    let mut attend =
        attend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut first = String::new();
    let mut items = BufReader::new(attend.stdout.take().expect("piped"));
    items.read_line(&mut first).expect("it tells");
    let words = attend.stdin.take().expect("piped");
    let namespace = proc::namespace(node.first).expect("it lives");
    let (ready, listens) = mpsc::channel();
    let told = std::thread::spawn(move || tell(namespace, words, &ready));
    if first.contains("\"watch\":\"host\"") && listens.recv().is_ok() {
        let how = " (in a container, told by the host)";
        // Its processes are begun and ended as those beside an agent that is told by the kernel.
        let measuring = || {
            enter(node.first);
            hooks(table, dir, target, how, HOOKS, (1.0, 2.0));
        };
        std::thread::scope(|scope| scope.spawn(measuring).join()).expect("it measures");
    } else {
        table.missing("vnf (in a container, told by the host)", "the kernel tells nobody here");
    }
    attend.kill().and_then(|()| attend.wait()).expect("it is ours");
    drop(node);
    // It ends with who listened to it, at the next program that anybody starts.
    drop(told);
}

/// Passes on what the kernel tells of the processes of a namespace, until nobody takes it; says when it listens. Where the
/// kernel tells nobody it ends at once.
fn tell(namespace: proc::Namespace, mut to: impl Write, ready: &Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let Ok(connector) = Connector::open().await else { return };
        ready.send(()).expect("somebody waits");
        let mut told = Vec::new();
        while connector.next(&mut told).await.is_ok() {
            let seen: Vec<Sighting> = told
                .drain(..)
                .filter_map(|told| match told {
                    Told::Changed(pid) if proc::namespace(pid) == Some(namespace) => {
                        Sighting::of(pid)
                    }
                    Told::Changed(_) | Told::Lost => None,
                })
                .collect();
            if seen.is_empty() {
                continue;
            }
            let line = serde_json::to_string(&Word::Look(seen)).expect("plain data");
            if writeln!(to, "{line}").and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    });
}
