//! guest-exec and guest-exec-status: programs that run beside the agent, their output kept until it is fetched.
//!
//! A program is not the agent's to end: it lives on when the agent is restarted, as with QEMU's agent, and so does what
//! it leaves running. It stays in the agent's session, as there: a session of its own would be a scheduling group of
//! its own, which on a busy machine waits its turn anew for each program.

use std::{collections::HashMap, fs::File, io::Write, mem::ManuallyDrop, os::fd::OwnedFd};

use rustix::{fs::MemfdFlags, pipe::PipeFlags};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};
use vnode_action::{ExitStatus, Running, Session, Spec, Stdin, Stream};

use super::{
    Args, CommandError, Guest, base64,
    bulk::{Answer, Member, Source},
    reason,
    state::{self, GuestState},
};
use crate::context::Context;

/// Most output kept of a stream; what comes after is read and thrown away.
const MOST_OUTPUT: usize = 16 << 20;
/// Output up to this is kept in our memory, more of it in a memory file, which is not ours to hold resident.
const AT_HAND: usize = 64 << 10;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-exec", exec), Guest::now("guest-exec-status", status)]
}

/// Programs started and not yet asked for after their end.
#[derive(Debug, Default)]
pub(super) struct Execs {
    records: HashMap<u32, Option<Ended>>,
}

/// How a program ended, and what it printed where that was captured.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    out: Option<Captured>,
    err: Option<Captured>,
}

#[derive(Debug, Default)]
struct Captured {
    at_hand: Vec<u8>,
    /// All of the output, once it is more than fits at hand.
    file: Option<File>,
    length: usize,
    truncated: bool,
}

impl Captured {
    fn push(&mut self, bytes: &[u8]) {
        let room = MOST_OUTPUT - self.length;
        let taken = &bytes[..bytes.len().min(room)];
        self.truncated |= taken.len() < bytes.len();
        if self.file.is_none() && self.length + taken.len() > AT_HAND {
            let memory = rustix::fs::memfd_create("exec-output", MemfdFlags::CLOEXEC);
            let Ok(memory) = memory else {
                self.truncated = true;
                return;
            };
            let mut file = File::from(memory);
            if file.write_all(&std::mem::take(&mut self.at_hand)).is_err() {
                (self.length, self.truncated) = (0, true);
                return;
            }
            self.file = Some(file);
        }
        match &mut self.file {
            None => self.at_hand.extend_from_slice(taken),
            // No memory left for it: what is there stays, and is marked.
            Some(file) => match file.write_all(taken) {
                Ok(()) => {}
                Err(_) => {
                    self.truncated = true;
                    return;
                }
            },
        }
        self.length += taken.len();
    }
}

/// What is to be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capture {
    Nothing,
    Out,
    Err,
    Separated,
    Merged,
}

const CAPTURES: [(&str, Capture); 5] = [
    ("none", Capture::Nothing),
    ("stdout", Capture::Out),
    ("stderr", Capture::Err),
    ("separated", Capture::Separated),
    ("merged", Capture::Merged),
];

fn capture_of(value: &Value) -> Option<Capture> {
    value.as_bool().map(|all| if all { Capture::Separated } else { Capture::Nothing })
}

fn exec(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let path = args.text("path")?;
    let arguments = args.opt_texts("arg")?.unwrap_or_default();
    let environment = args.opt_texts("env")?;
    let input = args.opt_text("input-data")?;
    let capture =
        args.opt_either("capture-output", "GuestExecCaptureOutput", capture_of, &CAPTURES)?;
    args.finish()?;
    let input = input.as_deref().map(base64::decode).transpose()?;
    let guest = context.state::<GuestState>();
    let options = state::options(context)?;
    if guest.execs().records.len() >= options.exec_records {
        return Err(CommandError::failed(format!(
            "{} programs run or have ended without having been asked for; ask for one by guest-exec-status",
            options.exec_records
        )));
    }

    let mut spec = Spec::new(std::iter::once(&path).chain(&arguments));
    let nothing_said = environment.is_none() && options.environment.is_empty();
    let environment = environment.as_ref().unwrap_or(&options.environment);
    let variables = environment.iter().filter_map(|variable| variable.split_once('='));
    if nothing_said {
        spec = spec.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    spec = spec.envs(variables);
    let broken = |error: rustix::io::Errno| failed(&reason(&error.into()));

    let capture = capture.unwrap_or(Capture::Nothing);
    let (mut out, mut err) = (None, None);
    if matches!(capture, Capture::Out | Capture::Separated | Capture::Merged) {
        let (ours, theirs) = pipe_ours_reads().map_err(broken)?;
        if capture == Capture::Merged {
            let copy = theirs.try_clone().map_err(|error| failed(&reason(&error)))?;
            spec = spec.stderr(Stream::Fd(copy));
        }
        spec = spec.stdout(Stream::Fd(theirs));
        out = Some(ours);
    }
    if matches!(capture, Capture::Err | Capture::Separated) {
        let (ours, theirs) = pipe_ours_reads().map_err(broken)?;
        spec = spec.stderr(Stream::Fd(theirs));
        err = Some(ours);
    }
    let mut feed = None;
    if let Some(input) = input {
        let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(broken)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(broken)?;
        spec = spec.stdin(Stdin::Fd(theirs));
        feed = Some((ours, input));
    }

    let read = |fd: Option<OwnedFd>| fd.map(pipe::Receiver::from_owned_fd).transpose();
    let io = |error: std::io::Error| failed(&reason(&error));
    let (out, err) = (read(out).map_err(io)?, read(err).map_err(io)?);
    let feed = match feed {
        Some((fd, input)) => Some((pipe::Sender::from_owned_fd(fd).map_err(io)?, input)),
        None => None,
    };
    let running = vnode_action::spawn(spec.session(Session::Inherit))
        .map_err(|error| not_started(&path, &error))?;
    let pid = running.pid();
    let running = ManuallyDrop::new(running);
    guest.execs().records.insert(pid, None);
    tokio::spawn(async move {
        if let Some((pipe, input)) = feed {
            tokio::spawn(write_all(pipe, input));
        }
        let (out, err, (code, signal)) = tokio::join!(drain(out), drain(err), ended(running));
        if let Some(record) = guest.execs().records.get_mut(&pid) {
            *record = Some(Ended { code, signal, out, err });
        }
    });
    Ok(json!({ "pid": pid }))
}

fn pipe_ours_reads() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

fn failed(why: &str) -> CommandError {
    CommandError::failed(format!("Guest agent command failed, error was '{why}'"))
}

fn not_started(path: &str, error: &vnode_action::Error) -> CommandError {
    let why = match error {
        vnode_action::Error::NotFound { .. } => "No such file or directory".to_owned(),
        vnode_action::Error::Start { source, .. } => reason(source),
        other => other.to_string(),
    };
    failed(&format!("Failed to execute child process \u{201c}{path}\u{201d} ({why})"))
}

async fn write_all(mut pipe: pipe::Sender, input: Vec<u8>) {
    // A program may end, or close its input, without reading all: no error of ours.
    let _ = pipe.write_all(&input).await;
}

async fn drain(pipe: Option<pipe::Receiver>) -> Option<Captured> {
    let mut pipe = pipe?;
    let mut captured = Captured::default();
    let mut buffer = vec![0; 4 << 10];
    loop {
        match pipe.read(&mut buffer).await {
            // A pipe that cannot be read gives no more than one that has ended.
            Ok(0) | Err(_) => return Some(captured),
            Ok(count) => {
                captured.push(&buffer[..count]);
                if count == buffer.len() && count < 64 << 10 {
                    buffer.resize(64 << 10, 0);
                }
            }
        }
    }
}

/// Waits for the program's end: its exit code or signal. Dropped with the agent, it leaves the program alone.
async fn ended(mut running: ManuallyDrop<Running>) -> (Option<i32>, Option<i32>) {
    let how = match running.wait().await {
        Ok(ExitStatus::Code(code)) => (Some(code), None),
        Ok(ExitStatus::Signal(signal)) => (None, Some(signal)),
        // Another has taken the status.
        Err(_) => (Some(-1), None),
    };
    drop(ManuallyDrop::into_inner(running));
    how
}

fn unknown() -> CommandError {
    CommandError::not_found("Invalid parameter 'pid'")
}

fn status(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let pid = args.int("pid")?;
    args.finish()?;
    let guest = context.state::<GuestState>();
    let mut execs = guest.execs();
    let pid = u32::try_from(pid).map_err(|_| unknown())?;
    match execs.records.get(&pid) {
        None => return Err(unknown()),
        Some(None) => return Ok(json!({ "exited": false })),
        Some(Some(_)) => {}
    }
    let ended = execs.records.remove(&pid).flatten().ok_or_else(unknown)?;
    drop(execs);
    let answer = ended.members().into_iter().map(|(name, member)| match member {
        Member::Plain(value) => (name.to_owned(), value),
        Member::Bytes(mut source) => {
            let mut text = Vec::new();
            loop {
                let piece = source.next();
                if piece.is_empty() {
                    break;
                }
                base64::encode_into(&mut text, &piece);
            }
            (name.to_owned(), String::from_utf8(text).expect("base64 is ASCII").into())
        }
    });
    Ok(Value::Object(answer.collect::<Map<_, _>>()))
}

/// The result as an answer that is streamed, when the program has ended and printed more than fits at hand.
pub(super) fn large_result(context: &Context, pid: i64) -> Option<Answer> {
    let pid = u32::try_from(pid).ok()?;
    let guest = context.state::<GuestState>();
    let mut execs = guest.execs();
    let ended = execs.records.get(&pid)?.as_ref()?;
    let large = |captured: &Option<Captured>| captured.as_ref().is_some_and(|c| c.file.is_some());
    if !large(&ended.out) && !large(&ended.err) {
        return None;
    }
    let ended = execs.records.remove(&pid)??;
    Some(Answer { members: ended.members() })
}

impl Ended {
    fn members(self) -> Vec<(&'static str, Member)> {
        let mut members = vec![("exited", Member::Plain(true.into()))];
        if let Some(code) = self.code {
            members.push(("exitcode", Member::Plain(code.into())));
        }
        if let Some(signal) = self.signal {
            members.push(("signal", Member::Plain(signal.into())));
        }
        let streams =
            [("out-data", "out-truncated", self.out), ("err-data", "err-truncated", self.err)];
        for (data, truncated, captured) in streams {
            let Some(captured) = captured.filter(|captured| captured.length > 0) else { continue };
            let length = captured.length as u64;
            let bytes = match captured.file {
                None => Member::Plain(base64::encode(&captured.at_hand).into()),
                Some(file) => Member::Bytes(Source::Whole { file, at: 0, length }),
            };
            members.push((data, bytes));
            members.push((truncated, Member::Plain(captured.truncated.into())));
        }
        members
    }
}
