//! The keeper of a detached program: a process of its own, which holds the program's streams, its last output and its exit
//! status, so that nothing of them depends on the agent's life. It is this program with a hidden word, and ends with the
//! program.

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::UnixListener,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use vnode_action::CancellationToken;
use vnode_idle::Busy;
use vnode_processes::proc;

use super::{
    clients::{Ask, Kept, serve},
    failed,
    program::{self, Request, Streams, Terminal},
    record::{Over, Place, Process, Record},
    ring::Which,
    streams::{Sink, give},
    tree::{Tree, Watch},
};
use crate::{
    command::{Class, CommandError},
    context::Context,
};

/// The hidden word.
pub const KEEP: &str = "keep-exec";
/// How long those that are attached are waited for when the program has ended; the rest they get from the record.
const LINGER: Duration = Duration::from_secs(60);
/// Pieces of input that wait.
const INPUTS: usize = 2;
/// Longer than anything runs.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a start went, as the agent is told on standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Started {
    Record(Box<Record>),
    /// The class as [`Wrong`], and the text.
    Wrong(Wrong, String),
}

/// A [`Class`] that a start can fail with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wrong {
    NotFound,
    Denied,
    Invalid,
    Failed,
}

/// Keeps the program that standard input asks for, in a folder, to its end; gives the exit code.
///
/// # Errors
/// When there is no runtime to be had.
pub fn keep(folder: &Path) -> std::io::Result<u8> {
    // As lists of processes name it: it was not started by its own name.
    let _ = rustix::thread::set_name(c"vnode-keep");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_stack_size(256 << 10)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?;
    let place = Place(folder.to_owned());
    let kept = runtime.block_on(async {
        let begun = begin(&place);
        let told = match &begun {
            Ok(keeper) => Started::Record(Box::new(keeper.record.clone())),
            Err(error) => {
                let wrong = match error.class() {
                    Class::NotFound => Wrong::NotFound,
                    Class::Denied => Wrong::Denied,
                    Class::Invalid => Wrong::Invalid,
                    _ => Wrong::Failed,
                };
                Started::Wrong(wrong, vnode_protocol::chain(error))
            }
        };
        tell(&told);
        match begun {
            Ok(keeper) => keeper.run(&place).await,
            Err(_) => Ok(()),
        }
    });
    runtime.shutdown_background();
    Ok(u8::from(kept.is_err()))
}

/// Tells the agent, and lets go of its pipe.
fn tell(started: &Started) {
    let Ok(text) = serde_json::to_vec(started) else { return };
    // An agent that has gone finds the record.
    let _ = std::io::stdout().write_all(&text).and_then(|()| std::io::stdout().flush());
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

struct Keeper {
    tree: Tree,
    streams: Streams,
    listener: UnixListener,
    record: Record,
    limit: Option<Duration>,
    watch: Arc<Watch>,
}

fn begin(place: &Place) -> Result<Keeper, CommandError> {
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    read.map_err(|error| failed("read what is to be run", error))?;
    let request: Request = serde_json::from_slice(&text)
        .map_err(|error| failed("understand what is to be run", error))?;
    let context =
        Context::builder("/").build().map_err(|error| failed("open the root folder", error))?;
    let socket = place.socket();
    let listener = UnixListener::bind(&socket).and_then(|listener| {
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map(|()| listener)
    });
    let listener = listener.map_err(|error| failed("listen for those who attach", error))?;
    let id = place.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let watch = Arc::new(Watch::default());
    let (tree, streams) = program::begin(&context, &request, &id, &watch)?;
    let record = Record {
        id,
        argv: request.argv,
        user: request.user,
        terminal: request.terminal.is_some(),
        stdin: request.stdin,
        program: Process::of(tree.pid()),
        keeper: Process::of(std::process::id().cast_signed()),
        boot: proc::boot_id(),
        started: Timestamp::now(),
        ended: None,
    };
    place.write(&record)?;
    let limit = request.time_limit_seconds.map(Duration::from_secs);
    Ok(Keeper { tree, streams, listener, record, limit, watch })
}

impl Keeper {
    async fn run(self, place: &Place) -> Result<(), CommandError> {
        let Self { mut tree, streams, listener, mut record, limit, watch } = self;
        tokio::spawn(vnode_idle::settle(Arc::new(Busy::default())));
        let kept = Arc::new(Kept::default());
        let ended = CancellationToken::new();
        let (inputs, asked_inputs) = mpsc::channel(INPUTS);
        let (controls, mut asked) = mpsc::channel(INPUTS);
        let mut output = JoinSet::new();
        let mut printed = |from: Option<_>, which| {
            let (kept, ended) = (Arc::clone(&kept), ended.clone());
            output.spawn(async move { give(from, Sink::Kept(&kept, which), &ended).await });
        };
        let mut terminal = None;
        match streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                printed(stdout.map(boxed), Which::Out);
                printed(stderr.map(boxed), Which::Err);
                tokio::spawn(feed(stdin, asked_inputs, true));
            }
            Streams::Terminal { from, to, size } => {
                printed(Some(boxed(from)), Which::Out);
                tokio::spawn(feed(Some(to), asked_inputs, false));
                terminal = Some(size);
            }
        }
        let mut clients = JoinSet::new();
        let kin = tree.kin().clone();
        let mut ending = std::pin::pin!(async { kin.end().await });
        let (mut ends, mut killing) = (false, false);
        let mut over = std::pin::pin!(sleep(limit.unwrap_or(FOR_EVER).min(FOR_EVER)));
        let status = loop {
            tokio::select! {
                // Its number stays its own as long as the others are being ended.
                status = tree.wait(), if !ends => break status?,
                () = &mut ending, if ends => ends = false,
                () = &mut over, if !killing => {
                    watch.expired.store(true, Ordering::Relaxed);
                    killing = true;
                    kin.kill().await;
                }
                Ok((stream, _)) = listener.accept() => {
                    let (kept, inputs, controls) =
                        (Arc::clone(&kept), inputs.clone(), controls.clone());
                    clients.spawn(async move { serve(stream, &kept, &inputs, &controls).await });
                }
                Some(_) = clients.join_next() => {}
                Some(control) = asked.recv() => match control {
                    // Once, and not when it is being killed already.
                    Ask::End if !killing => (ends, killing) = (true, true),
                    // Whoever asked has been answered: a program that has just ended takes none.
                    Ask::Signal { number } => drop(tree.signal(number)),
                    Ask::Resize(size) => drop(terminal.as_ref().map(|at: &Terminal| at.resize(size))),
                    Ask::End | Ask::Attach { .. } => {}
                },
            }
        };
        ended.cancel();
        while output.join_next().await.is_some() {}
        let exit = super::exit(status);
        let (frames, lost, bytes) = kept.all();
        record.ended = Some(Over {
            at: Timestamp::now(),
            code: exit.code,
            signal: exit.signal,
            timed_out: watch.expired.load(Ordering::Relaxed),
            bytes,
            lost,
        });
        let written = place.write_output(&frames).and_then(|()| place.write(&record));
        // From here on the record tells.
        drop(listener);
        let _ = std::fs::remove_file(place.socket());
        kept.end(exit);
        let told = async { while clients.join_next().await.is_some() {} };
        // Who is cut here reads the rest from the record.
        let _ = timeout(LINGER, told).await;
        written
    }
}

fn boxed(
    from: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> Box<dyn tokio::io::AsyncRead + Send + Unpin> {
    Box::new(from)
}

/// Gives the program its input, whole pieces one after the other, whoever they are from. `None` is the end of a pipe; for
/// a terminal there is none.
async fn feed(
    mut to: Option<impl AsyncWrite + Unpin>,
    mut inputs: mpsc::Receiver<Option<Vec<u8>>>,
    closes: bool,
) {
    while let Some(input) = inputs.recv().await {
        to = match (input, to) {
            (Some(bytes), Some(mut sink)) => sink.write_all(&bytes).await.is_ok().then_some(sink),
            (None, _) if closes => None,
            (_, to) => to,
        };
    }
}

impl From<Wrong> for Class {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::NotFound => Self::NotFound,
            Wrong::Denied => Self::Denied,
            Wrong::Invalid => Self::Invalid,
            Wrong::Failed => Self::Failed,
        }
    }
}
