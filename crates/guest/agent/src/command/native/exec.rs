//! exec: a program with its streams, or on a terminal; while its client is there, or detached from it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use vnode_action::{CancellationToken, ExitStatus};
use vnode_protocol::frame::{Exit, Frame};

use super::{Ended, StreamIo, failed, read, user};
use crate::{
    audit,
    command::{Class, CommandError},
    context::Context,
    parser::native::{Inbox, Input},
};

mod attach;
mod attended;
mod clients;
mod detached;
mod keeper;
mod program;
mod record;
mod ring;
mod streams;
mod tree;

pub(super) use attach::{Attach, End, List, Remove, Show, Signal};
pub use attended::{end_those_left, over};
pub use keeper::{KEEP, keep};
use program::{Request, Size, Streams, Terminal};
use streams::{Sink, feed, give};
use tree::{Tree, Watch};

/// Between looks at a program that has no terminal, and how long it stands still before that is told.
const LOOK: Duration = Duration::from_secs(5);
const STANDS: Duration = Duration::from_secs(30);

streamed!(Exec, "exec", "Runs a program.", |context, value, io| {
    let request: Request = read(value)?;
    if request.detach {
        return detached::begin(context, &request).await.map(Ended::Response);
    }
    let limit = request.time_limit_seconds.map(Duration::from_secs);
    let watch = Arc::new(Watch::default());
    // Ends the program when it is dropped.
    let mut running = std::pin::pin!(attended(context, request, io, &watch));
    let status = match limit {
        Some(limit) => timeout(limit, &mut running).await.unwrap_or_else(|_| {
            watch.expired.store(true, Ordering::Relaxed);
            let still =
                if watch.stands_still() { ", and stands still: a signal stopped it" } else { "" };
            let text = format!("the program ran longer than {} s{still}", limit.as_secs());
            Err(CommandError::new(Class::TimedOut, text))
        })?,
        None => running.await?,
    };
    Ok(Ended::Exit(exit(status)))
});

fn exit(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(code) => Exit { code: Some(code), signal: None },
        ExitStatus::Signal(signal) => Exit { code: None, signal: Some(signal) },
    }
}

/// Returns when the program has stood still for [`STANDS`]: nothing tells its client, who waits.
async fn stopped(watch: &Watch) {
    let mut looks = 0;
    while looks < STANDS.as_secs() / LOOK.as_secs() {
        sleep(LOOK).await;
        looks = if watch.stands_still() { looks + 1 } else { 0 };
    }
}

/// Runs a program for a client that is there.
async fn attended(
    context: &Context,
    request: Request,
    io: StreamIo,
    watch: &Arc<Watch>,
) -> Result<ExitStatus, CommandError> {
    let id = record::new_id()?;
    let line = attended::enter(context, &id);
    let (mut tree, streams) = program::begin(context, &request, &id, watch)?;
    tree.is_on_record(line);
    let StreamIo { inbox, outbox } = io;
    let ended = CancellationToken::new();
    let sink = |frame| Sink::Client(&outbox, frame);
    match streams {
        Streams::Pipes { stdin, stdout, stderr } => {
            let out = async {
                tokio::join!(
                    give(stdout, sink(Frame::Stdout(Vec::new())), &ended),
                    give(stderr, sink(Frame::Stderr(Vec::new())), &ended)
                )
            };
            let feeding = async {
                if let Some(stdin) = stdin {
                    feed(stdin, &inbox, &outbox, true).await;
                }
            };
            let finished = finish(&mut tree, feeding, out, &inbox, &ended, None);
            let mut finished = std::pin::pin!(finished);
            tokio::select! {
                status = &mut finished => return status,
                () = stopped(watch) => {
                    audit::stopped(context, "exec", watch.pid.load(Ordering::Relaxed), STANDS);
                }
            }
            finished.await
        }
        Streams::Terminal { from, to, size } => {
            let out = give(Some(from), sink(Frame::Stdout(Vec::new())), &ended);
            // The end of input is no end of a terminal: that is a character its program is given.
            let feeding = feed(to, &inbox, &outbox, false);
            finish(&mut tree, feeding, out, &inbox, &ended, Some(&size)).await
        }
    }
}

/// Moves everything until the program has ended and its output is read.
async fn finish(
    tree: &mut Tree,
    feeding: impl Future<Output = ()>,
    out: impl Future,
    inbox: &Inbox,
    ended: &CancellationToken,
    terminal: Option<&Terminal>,
) -> Result<ExitStatus, CommandError> {
    let mut feeding = std::pin::pin!(feeding);
    let mut out = std::pin::pin!(out);
    let (mut fed, mut given) = (false, false);
    let status = loop {
        tokio::select! {
            status = tree.wait() => break status?,
            () = &mut feeding, if !fed => fed = true,
            _ = &mut out, if !given => given = true,
            input = inbox.next_control() => control(tree, terminal, &input)?,
        }
    };
    ended.cancel();
    if !given {
        // A client that takes its time is waited for; pipes that somebody else holds open are not.
        out.await;
    }
    Ok(status)
}

fn control(tree: &Tree, terminal: Option<&Terminal>, input: &Input) -> Result<(), CommandError> {
    match (input, terminal) {
        (Input::Signal(number), _) => tree.signal(*number),
        (Input::Resize { rows, columns }, Some(terminal)) => {
            terminal.resize(Size { rows: *rows, columns: *columns })
        }
        // A size without a terminal means nothing.
        _ => Ok(()),
    }
}
