//! One program, from begin to end.

use std::{io, os::fd::OwnedFd, pin::pin, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    pipe::PIPE_BUF,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::Instant as Timer,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    output::{ExitStatus, Output},
    running::{Running, Signal, begin},
    spec::{Spec, Stdin, Stream},
};

/// How long we read on after the program and its group have ended: only processes that left the group, and
/// have no cgroup, can still hold the pipes.
const DRAIN: Duration = Duration::from_millis(250);

/// A program that ends within this time is read when it has ended: a pipe holds what most have to say, and we are woken
/// once. One that prints more than its pipe holds stands still until then.
const SOON: Duration = Duration::from_millis(5);

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
    let mut input = Vec::new();
    if let Stdin::Bytes(bytes) = &mut spec.stdin
        && bytes.len() > PIPE_BUF
    {
        input = std::mem::take(bytes);
        spec.stdin = Stdin::Pipe;
    }
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

    let began = Timer::now();
    let limit = began + time_limit.unwrap_or(FOR_EVER);
    let (mut running, ours) = begin(spec)?;
    let mut streams = Streams {
        stdin: ours.stdin.map(|pipe| (pipe, input)),
        stdout: Captured::new(ours.stdout, stdout_cap),
        stderr: Captured::new(ours.stderr, stderr_cap),
    };
    let mut soon = None;
    if streams.stdin.is_none() {
        tokio::select! {
            biased;
            status = running.wait() => soon = Some(status?),
            () = cancellation.cancelled() => {}
            () = tokio::time::sleep_until(limit.min(began + SOON)) => {}
        }
    }
    let failed =
        |source| Error::Io { program: program.clone(), doing: "read the output of", source };
    let (status, stopped) = match soon {
        Some(status) => {
            streams.rest().await.map_err(failed)?;
            (status, None)
        }
        None => {
            let reading = streams.watch().map_err(failed)?;
            follow(&mut running, reading, limit, grace, cancellation).await?
        }
    };
    let Streams { stdout, stderr, .. } = streams;
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

/// Waits for the end of a program that does not end soon, with its streams served; ends it when it must.
async fn follow(
    running: &mut Running,
    reading: impl Future<Output = ()>,
    limit: Timer,
    grace: Duration,
    cancellation: &CancellationToken,
) -> Result<(ExitStatus, Option<Stop>)> {
    let mut stopped = None;
    let mut reading = pin!(reading);
    let mut is_read = false;
    let mut deadline = pin!(tokio::time::sleep_until(limit));
    let status = loop {
        tokio::select! {
            biased;
            status = running.wait() => break status?,
            () = reading.as_mut(), if !is_read => is_read = true,
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
    if !is_read {
        // A timeout here means that a stranger holds a pipe: what came so far is all there is.
        let _ = tokio::time::timeout(DRAIN, reading).await;
    }
    Ok((status, stopped))
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    TimeLimit,
    Cancelled,
}

/// A program's streams, from our side.
struct Streams {
    /// With what is written there; less than a page was written before the program began.
    stdin: Option<(OwnedFd, Vec<u8>)>,
    stdout: Captured,
    stderr: Captured,
}

impl Streams {
    /// Reads what a program left that has ended.
    async fn rest(&mut self) -> io::Result<()> {
        if self.stdout.read_ended()? && self.stderr.read_ended()? {
            return Ok(());
        }
        // Somebody who left the group holds a pipe: what comes now is all there is.
        let _ = tokio::time::timeout(DRAIN, self.watch()?).await;
        Ok(())
    }

    /// Writes and reads to the end, as the program reads and writes.
    fn watch(&mut self) -> io::Result<impl Future<Output = ()>> {
        let mut stdin = self.stdin.take();
        let input = stdin.as_mut().map(|(_, input)| std::mem::take(input)).unwrap_or_default();
        let mut pipe = stdin.map(|(pipe, _)| pipe::Sender::from_owned_fd(pipe)).transpose()?;
        let feed = async move {
            if let Some(pipe) = &mut pipe {
                // A program may end, or close its input, without reading all: no error of ours.
                let _ = pipe.write_all(&input).await;
            }
            drop(pipe);
        };
        let (stdout, stderr) = (self.stdout.read()?, self.stderr.read()?);
        Ok(async {
            tokio::join!(feed, stdout, stderr);
        })
    }
}

/// What is read of one stream.
struct Captured {
    pipe: Option<OwnedFd>,
    max_bytes: usize,
    bytes: Vec<u8>,
    truncated: bool,
}

impl Captured {
    fn new(pipe: Option<OwnedFd>, max_bytes: usize) -> Self {
        Self { pipe, max_bytes, bytes: Vec::new(), truncated: false }
    }

    /// Takes what was read; beyond the cap bytes are thrown away, so that the program does not block.
    fn take(&mut self, bytes: &[u8]) {
        let room = self.max_bytes - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.truncated |= bytes.len() > room;
    }

    /// Reads all there is, when nobody can write any more. Gives whether that is so.
    fn read_ended(&mut self) -> io::Result<bool> {
        let Some(pipe) = &self.pipe else { return Ok(true) };
        let mut look = [PollFd::new(pipe, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        while let Err(error) = rustix::event::poll(&mut look, Some(&now)) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        let told = look[0].revents();
        if !told.contains(PollFlags::HUP) {
            return Ok(false);
        }
        let Some(pipe) = self.pipe.take() else { return Ok(true) };
        let mut buffer = [0; 4 << 10];
        // Less than a bufferful is the last of it.
        let mut count = if told.contains(PollFlags::IN) { buffer.len() } else { 0 };
        while count == buffer.len() {
            count = match rustix::io::read(&pipe, &mut buffer) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.take(&buffer[..count]);
        }
        Ok(true)
    }

    /// Reads to the end, as it comes.
    fn read(&mut self) -> io::Result<impl Future<Output = ()>> {
        let pipe = self.pipe.take().map(pipe::Receiver::from_owned_fd).transpose()?;
        Ok(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = vec![0; 16 << 10];
            loop {
                match pipe.read(&mut buffer).await {
                    // A pipe that cannot be read gives no more than one that has ended.
                    Ok(0) | Err(_) => return,
                    Ok(count) => self.take(&buffer[..count]),
                }
            }
        })
    }
}
