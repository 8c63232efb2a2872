//! A program or a console in a node at one end, this terminal or these pipes at the other.

use std::io::Write;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vnode_api::{Code, Problem};
use vnode_protocol::frame::{self, Exit, Frame, FrameReader};

use crate::output::written;
use crate::{Result, terminal};

/// Bytes of input in one frame.
const PIECE: usize = 32 * 1024;
/// Frames that wait to be sent.
const QUEUE: usize = 16;
/// Ctrl-] ends an attachment to a console.
const DETACH: u8 = 0x1d;
/// Interrupts after which a program that heeds none is left.
const PATIENCE: u32 = 3;
/// Most output kept for `--json`, bytes.
const MAX_KEPT: usize = 64 << 20;

/// What is joined to the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// The other side has a terminal: ours goes into raw mode and tells its size.
    pub terminal: bool,
    /// Standard input goes over.
    pub stdin: bool,
    /// Ctrl-] ends it.
    pub detach: bool,
    /// Output is kept and given back instead of printed.
    pub keep: bool,
}

/// How it ended, and the output where it was kept.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// `None`: the user left.
    pub exit: Option<Exit>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes of its output that nobody has any more.
    pub lost: u64,
}

/// Joins the two until the program ends or the user leaves.
pub(crate) async fn join<S>(stream: S, ends: Ends) -> Result<Ended>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let _raw = match ends.terminal {
        true => Some(terminal::Raw::enter().map_err(|error| {
            Problem::from_error(Code::Failed, &error)
                .in_front("cannot set the terminal to raw mode")
        })?),
        false => None,
    };
    let (from_node, mut to_node) = tokio::io::split(stream);
    let (sender, mut frames) = mpsc::channel::<Frame>(QUEUE);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            // The reading side reports a stream that broke.
            if frame::write(&mut to_node, &frame).await.is_err() {
                return;
            }
        }
        // Kept open: closing it would kill the program.
        std::future::pending::<()>().await;
    });
    let (leave, mut left) = mpsc::channel::<()>(1);
    feed(ends, sender.clone(), leave.clone());
    signals(ends, &sender, leave)?;
    let mut from_node = FrameReader::new(from_node);
    tokio::select! {
        ended = output(&mut from_node, ends) => ended,
        _ = left.recv() => Ok(Ended::default()),
    }
}

async fn output(from: &mut FrameReader<impl AsyncRead + Unpin>, ends: Ends) -> Result<Ended> {
    let mut ended = Ended::default();
    loop {
        let frame = from.next().await.map_err(|error| {
            Problem::from_error(Code::Unavailable, &error).in_front("lost the program in the node")
        })?;
        match frame {
            Some(Frame::Stdout(bytes)) if ends.keep => keep(&mut ended.stdout, &bytes)?,
            Some(Frame::Stderr(bytes)) if ends.keep => keep(&mut ended.stderr, &bytes)?,
            Some(Frame::Stdout(bytes)) => {
                let mut out = std::io::stdout().lock();
                written(out.write_all(&bytes).and_then(|()| out.flush()))?;
            }
            Some(Frame::Stderr(bytes)) => written(std::io::stderr().lock().write_all(&bytes))?,
            Some(Frame::Progress(json)) => {
                let told: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
                let lost = told["lost"].as_u64().unwrap_or(0);
                ended.lost = ended.lost.saturating_add(lost);
                if !ends.keep {
                    let end = if ends.terminal { "\r\n" } else { "\n" };
                    let note = format!("vnode: {lost} bytes of output before this are lost{end}");
                    written(std::io::stderr().lock().write_all(note.as_bytes()))?;
                }
            }
            Some(Frame::Exit(exit)) => {
                ended.exit = Some(exit);
                return Ok(ended);
            }
            Some(Frame::Error(json)) => {
                return Err(serde_json::from_slice(&json).unwrap_or_else(|_| {
                    Problem::new(Code::Failed, "the program could not be run to its end")
                }));
            }
            Some(other) => {
                let text = format!("the daemon sent an unexpected frame: {other:?}");
                return Err(Problem::new(Code::Failed, text));
            }
            None => {
                return Err(Problem::new(Code::Unavailable, "lost the program in the node")
                    .cause("the daemon ended the stream"));
            }
        }
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    if kept.len() + bytes.len() > MAX_KEPT {
        return Err(Problem::new(Code::TooLarge, "the program prints too much for `--json`")
            .hint("run it without `--json`, or redirect its output inside the node"));
    }
    kept.extend_from_slice(bytes);
    Ok(())
}

/// Sends standard input, then its end.
fn feed(ends: Ends, sender: mpsc::Sender<Frame>, leave: mpsc::Sender<()>) {
    tokio::spawn(async move {
        if ends.stdin && !empty() {
            let mut stdin = tokio::io::stdin();
            let mut piece = vec![0; PIECE];
            // An error is an end: whoever gave us this input has taken it away.
            while let Ok(length @ 1..) = stdin.read(&mut piece).await {
                let mut bytes = &piece[..length];
                let detached = ends.detach && bytes.contains(&DETACH);
                if detached {
                    bytes = bytes.split(|&byte| byte == DETACH).next().unwrap_or_default();
                }
                if sender.send(Frame::Stdin(bytes.to_vec())).await.is_err() {
                    return;
                }
                if detached {
                    // Nobody waits for the word when the console has ended by itself.
                    let _ = leave.send(()).await;
                    return;
                }
            }
        }
        // The program has ended when nobody takes this.
        drop(sender.send(Frame::StdinEnd).await);
    });
}

/// Standard input is `/dev/null`: no thread need wait for it.
fn empty() -> bool {
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::fstat(std::io::stdin()).is_ok_and(|found| {
        rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice
            && found.st_rdev == null
    })
}

/// Hands signals and the terminal's size on.
fn signals(ends: Ends, sender: &mpsc::Sender<Frame>, leave: mpsc::Sender<()>) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Problem::from_error(Code::Failed, &error).in_front("cannot listen for signals")
        })
    };
    if ends.terminal {
        let mut resized = listen(SignalKind::window_change())?;
        let sender = sender.clone();
        // The first size went with the request of exec; a console has not seen it yet.
        let first = ends.detach;
        tokio::spawn(async move {
            let mut now = first;
            loop {
                if now && let Some((rows, columns)) = terminal::size() {
                    let frame = Frame::Resize { rows, columns };
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                }
                if resized.recv().await.is_none() {
                    return;
                }
                now = true;
            }
        });
    }
    if ends.detach {
        // A console has nobody to signal; our own signals end us as usual.
        return Ok(());
    }
    let forwarded = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in forwarded {
        let mut arrived = listen(kind)?;
        let (sender, leave) = (sender.clone(), leave.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while arrived.recv().await.is_some() {
                count += 1;
                let interrupts = kind == SignalKind::interrupt();
                // A full queue means that the program reads nothing: then it is not waited for either.
                let sent = sender.try_send(Frame::Signal(kind.as_raw_value()));
                if interrupts && (count >= PATIENCE || sent.is_err()) {
                    // The program may just have ended.
                    let _ = leave.send(()).await;
                }
            }
        });
    }
    Ok(())
}
