//! One program, from begin to end.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::Instant as Timer,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    output::Output,
    running::{Signal, start},
    spec::{Spec, Stdin, Stream},
};

/// How long we read on after the program and its group have ended: only processes that left the group, and
/// have no cgroup, can still hold the pipes.
const DRAIN: Duration = Duration::from_millis(250);

/// As good as no limit.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Runs the program to its end. Dropping the future kills it with its group.
///
/// Must be called in a tokio runtime with I/O and time.
///
/// # Errors
/// [`Error::TimeLimit`] and [`Error::Cancelled`] carry what the program had printed. A program that ends by
/// itself, with whatever status, is no error.
pub async fn run(mut spec: Spec, cancellation: &CancellationToken) -> Result<Output> {
    let program = spec.program();
    let time_limit = spec.time_limit;
    let grace = spec.grace;
    let input = match std::mem::take(&mut spec.stdin) {
        Stdin::Bytes(bytes) => {
            spec.stdin = Stdin::Pipe;
            bytes
        }
        other => {
            spec.stdin = other;
            Vec::new()
        }
    };
    let cap = |stream: &mut Stream| match stream {
        Stream::Capture { max_bytes } => *max_bytes,
        Stream::Pipe => {
            *stream = Stream::Null;
            0
        }
        _ => 0,
    };
    let (stdout_cap, stderr_cap) = (cap(&mut spec.stdout), cap(&mut spec.stderr));
    if cancellation.is_cancelled() {
        return Err(Error::Cancelled { program, output: None });
    }

    let began = Instant::now();
    let mut running = if spec.aside {
        let started = tokio::task::spawn_blocking(move || start(spec)).await;
        started.map_err(|error| Error::Io {
            program: program.clone(),
            doing: "start",
            source: std::io::Error::other(error),
        })??
    } else {
        start(spec)?
    };
    let mut stdout = Captured::new(running.take_stdout(), stdout_cap);
    let mut stderr = Captured::new(running.take_stderr(), stderr_cap);
    let mut stdin = running.take_stdin();

    let mut stopped = None;
    let status = {
        let feed = async {
            if let Some(pipe) = &mut stdin {
                // A program may end, or close its input, without reading all: no error of ours.
                let _ = pipe.write_all(&input).await;
            }
            stdin = None;
        };
        let mut streams = std::pin::pin!(async {
            tokio::join!(feed, stdout.read(), stderr.read());
        });
        let mut streams_done = false;
        let mut deadline = std::pin::pin!(tokio::time::sleep(time_limit.unwrap_or(FOR_EVER)));
        let status = loop {
            tokio::select! {
                biased;
                status = running.wait() => break status?,
                () = streams.as_mut(), if !streams_done => streams_done = true,
                () = cancellation.cancelled(), if stopped.is_none() => {
                    stopped = Some(Stop::Cancelled);
                    running.signal_group(Signal::TERM)?;
                    deadline.as_mut().reset(Timer::now() + grace);
                }
                () = deadline.as_mut() => {
                    if stopped.is_none() && !grace.is_zero() {
                        running.signal_group(Signal::TERM)?;
                        deadline.as_mut().reset(Timer::now() + grace);
                    } else {
                        running.kill()?;
                        deadline.as_mut().reset(Timer::now() + FOR_EVER);
                    }
                    stopped.get_or_insert(Stop::TimeLimit);
                }
            }
        };
        if !streams_done {
            // A timeout here means that a stranger holds a pipe: what came so far is all there is.
            let _ = tokio::time::timeout(DRAIN, streams).await;
        }
        status
    };
    let output = Output {
        status,
        stdout_truncated: stdout.truncated,
        stdout: stdout.bytes,
        stderr_truncated: stderr.truncated,
        stderr: stderr.bytes,
        duration: began.elapsed(),
    };
    match (stopped, time_limit) {
        (None, _) => Ok(output),
        (Some(Stop::TimeLimit), Some(limit)) => {
            Err(Error::TimeLimit { program, limit, output: Box::new(output) })
        }
        (Some(_), _) => Err(Error::Cancelled { program, output: Some(Box::new(output)) }),
    }
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    TimeLimit,
    Cancelled,
}

/// What is read of one stream.
#[derive(Debug)]
struct Captured {
    pipe: Option<pipe::Receiver>,
    max_bytes: usize,
    bytes: Vec<u8>,
    truncated: bool,
}

impl Captured {
    fn new(pipe: Option<pipe::Receiver>, max_bytes: usize) -> Self {
        Self { pipe, max_bytes, bytes: Vec::new(), truncated: false }
    }

    /// Reads to the end; beyond the cap bytes are thrown away, so that the program does not block.
    async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = match pipe.read(&mut buffer).await {
                // A pipe that cannot be read gives no more than one that has ended.
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let room = self.max_bytes - self.bytes.len();
            self.bytes.extend_from_slice(&buffer[..count.min(room)]);
            self.truncated |= count > room;
        }
        self.pipe = None;
    }
}
