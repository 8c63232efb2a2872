//! A running program or a console at one end, a stream of frames at the other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use vnode_lifecycle::{Console, Exec, ExecControl, Reader, WindowSize, Writer};
use vnode_protocol::frame::{self, Exit, Frame, FrameReader};

use crate::error::{Code, Problem};

/// Bytes of output in one frame.
const PIECE: usize = 32 * 1024;
/// After the program's end its output is read until it ends, or until it has been quiet for this long: a
/// child that it left behind may hold it open for ever.
const QUIET: Duration = Duration::from_millis(200);

/// Joins a program and a client until one of them is gone.
pub(crate) async fn exec<S>(stream: S, mut exec: Exec)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (from_client, to_client) = tokio::io::split(stream);
    let mut from_client = FrameReader::new(from_client);
    let to_client = Mutex::new(to_client);
    let control = exec.control();
    let mut stdin = exec.stdin.take();
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let activity = Activity::default();
    let told = AtomicU64::new(0);
    // What was lost comes before what there is.
    let lost = || {
        let all = control.lost();
        let new = all - told.swap(all, Ordering::Relaxed).min(all);
        (new > 0).then(|| Frame::Progress(json!({ "lost": new }).to_string().into_bytes()))
    };

    let output = async {
        let pumps = async {
            tokio::join!(
                pump(stdout, &to_client, Frame::Stdout, lost, &activity),
                pump(stderr, &to_client, Frame::Stderr, lost, &activity)
            );
        };
        let mut pumps = std::pin::pin!(pumps);
        // Mostly the output ends first, and nothing is waited for.
        let (exit, ended) = tokio::select! {
            () = &mut pumps => (exec.wait().await, true),
            exit = exec.wait() => (exit, false),
        };
        if !ended {
            until_quiet(pumps, &activity).await;
        }
        let last = match exit {
            Ok(exit) => Frame::Exit(Exit { code: exit.code, signal: exit.signal }),
            Err(error) => problem_frame(&Problem::from_error(Code::Failed, &error)),
        };
        end(&to_client, lost(), &last).await;
    };
    let input = async {
        while let Some(frame) = next(&mut from_client).await {
            match frame {
                Frame::Stdin(bytes) => feed(&mut stdin, &bytes).await,
                Frame::StdinEnd => stdin = None,
                Frame::Signal(signal) => signalled(&*control, signal).await,
                Frame::Resize { rows, columns } => {
                    let size = WindowSize { rows, cols: columns };
                    if let Err(error) = control.resize(size).await {
                        tracing::debug!(%error, "cannot resize a terminal");
                    }
                }
                other => return refused(&other),
            }
        }
    };
    tokio::select! {
        () = output => {}
        // The client is gone: dropping `exec` kills the program.
        () = input => {}
    }
}

/// Joins a console and a client until one of them is gone.
pub(crate) async fn console<S, R>(stream: S, console: Console, resize: impl Fn(u16, u16) -> R)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    R: Future<Output = Result<(), Problem>>,
{
    let (from_client, to_client) = tokio::io::split(stream);
    let mut from_client = FrameReader::new(from_client);
    let to_client = Mutex::new(to_client);
    let mut keys = Some(console.input);
    let activity = Activity::default();
    let output = async {
        pump(Some(console.output), &to_client, Frame::Stdout, || None, &activity).await;
        end(&to_client, None, &Frame::Exit(Exit { code: Some(0), signal: None })).await;
    };
    let input = async {
        while let Some(frame) = next(&mut from_client).await {
            match frame {
                Frame::Stdin(bytes) => feed(&mut keys, &bytes).await,
                // The console goes on to be seen; there is nothing more to type.
                Frame::StdinEnd => keys = None,
                Frame::Resize { rows, columns } => {
                    if let Err(error) = resize(rows, columns).await {
                        tracing::debug!(%error, "cannot resize a console");
                    }
                }
                other => return refused(&other),
            }
        }
    };
    tokio::select! {
        () = output => {}
        () = input => {}
    }
}

/// What the pumps do, to tell a quiet program from a slow client.
#[derive(Debug, Default)]
struct Activity {
    /// Pieces read so far.
    pieces: AtomicU64,
    /// Pumps that wait for the client just now.
    writing: AtomicUsize,
}

/// Lets the pumps go on until the output ends or has been quiet for a while.
async fn until_quiet(mut pumps: std::pin::Pin<&mut impl Future<Output = ()>>, activity: &Activity) {
    loop {
        let before = activity.pieces.load(Ordering::Relaxed);
        if tokio::time::timeout(QUIET, &mut pumps).await.is_ok() {
            return;
        }
        let read = activity.pieces.load(Ordering::Relaxed) != before;
        if !read && activity.writing.load(Ordering::Relaxed) == 0 {
            return;
        }
    }
}

/// Sends what a stream gives as frames, each after what there is to say before it, until it ends or the client is gone.
async fn pump(
    from: Option<Reader>,
    to: &Mutex<impl AsyncWrite + Unpin>,
    frame: impl Fn(Vec<u8>) -> Frame,
    before: impl Fn() -> Option<Frame>,
    activity: &Activity,
) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; PIECE];
    loop {
        let length = match from.read(&mut piece).await {
            Ok(0) => return,
            Ok(length) => length,
            // A terminal whose last user has gone answers EIO: its end.
            Err(_) => return,
        };
        activity.pieces.fetch_add(1, Ordering::Relaxed);
        activity.writing.fetch_add(1, Ordering::Relaxed);
        let frame = frame(piece[..length].to_vec());
        let written = after(&mut *to.lock().await, before(), &frame).await;
        activity.writing.fetch_sub(1, Ordering::Relaxed);
        if written.is_err() {
            return;
        }
    }
}

/// Sends a frame after what there is to say before it.
async fn after(
    to: &mut (impl AsyncWrite + Unpin),
    before: Option<Frame>,
    frame: &Frame,
) -> std::io::Result<()> {
    if let Some(before) = before {
        frame::write(to, &before).await?;
    }
    frame::write(to, frame).await
}

async fn end(to: &Mutex<impl AsyncWrite + Unpin>, before: Option<Frame>, last: &Frame) {
    let mut to = to.lock().await;
    let told = async {
        after(&mut *to, before, last).await?;
        to.shutdown().await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "a client went before its program's end");
    }
}

async fn next(from: &mut FrameReader<impl AsyncRead + Unpin>) -> Option<Frame> {
    match from.next().await {
        Ok(frame) => frame,
        Err(error) => {
            tracing::debug!(%error, "a client broke off");
            None
        }
    }
}

/// Writes to the program; one that reads no more is not an error, what comes later is thrown away.
async fn feed(stdin: &mut Option<Writer>, bytes: &[u8]) {
    if let Some(writer) = stdin {
        let written = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            *stdin = None;
        }
    }
}

async fn signalled(control: &dyn ExecControl, signal: i32) {
    if !(1..=64).contains(&signal) {
        tracing::debug!(signal, "no such signal");
    } else if let Err(error) = control.signal(signal).await {
        tracing::debug!(%error, signal, "cannot signal a program");
    }
}

fn refused(frame: &Frame) {
    tracing::debug!(?frame, "a client sent what only the daemon sends");
}

fn problem_frame(problem: &Problem) -> Frame {
    Frame::Error(serde_json::to_vec(problem).expect("a problem has a JSON form"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as StdMutex};

    use tokio::io::duplex;

    use super::*;

    /// A console whose node is this test.
    fn a_console() -> (Console, tokio::io::DuplexStream, tokio::io::DuplexStream) {
        let (input, typed) = duplex(1024);
        let (printed, output) = duplex(1024);
        (Console { input: Box::pin(input), output: Box::pin(output) }, typed, printed)
    }

    #[tokio::test]
    async fn keys_and_sizes_go_in_and_output_comes_out_until_the_node_ends() {
        let (console_ends, mut typed, mut printed) = a_console();
        let (client, server) = duplex(4096);
        let sizes = Arc::new(StdMutex::new(vec![]));
        let seen = Arc::clone(&sizes);
        let resize = move |rows, columns| {
            seen.lock().unwrap().push((rows, columns));
            async { Ok(()) }
        };
        let session = tokio::spawn(console(server, console_ends, resize));
        let (from, mut to) = tokio::io::split(client);
        let mut from = FrameReader::new(from);
        frame::write(&mut to, &Frame::Resize { rows: 10, columns: 20 }).await.unwrap();
        frame::write(&mut to, &Frame::Stdin(b"ls\n".to_vec())).await.unwrap();
        let mut keys = [0; 3];
        typed.read_exact(&mut keys).await.unwrap();
        assert_eq!(&keys, b"ls\n");
        assert_eq!(*sizes.lock().unwrap(), [(10, 20)]);
        printed.write_all(b"file").await.unwrap();
        assert_eq!(from.next().await.unwrap(), Some(Frame::Stdout(b"file".to_vec())));
        drop(printed);
        let exit = Exit { code: Some(0), signal: None };
        assert_eq!(from.next().await.unwrap(), Some(Frame::Exit(exit)));
        assert_eq!(from.next().await.unwrap(), None);
        session.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_speaks_nonsense_or_goes_ends_the_session() {
        for bytes in [&[99, 0, 0, 0, 0][..], &[17, 0, 0, 0, 1, 7], &[1, 255, 255, 255, 255], &[]] {
            let (console_ends, _typed, _printed) = a_console();
            let (mut client, server) = duplex(4096);
            let session = tokio::spawn(console(server, console_ends, |_, _| async { Ok(()) }));
            client.write_all(bytes).await.unwrap();
            drop(client);
            session.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_a_child_holds_open_is_left_after_a_quiet_while() {
        let (mut program, output) = duplex(1024);
        let (client, server) = duplex(64);
        let to_client = Mutex::new(server);
        let activity = Activity::default();
        let pumps = pump(Some(Box::pin(output)), &to_client, Frame::Stdout, || None, &activity);
        program.write_all(&[7; 500]).await.unwrap();
        let reader = tokio::spawn(async move {
            let mut from = FrameReader::new(client);
            let mut got = 0;
            while let Ok(Some(Frame::Stdout(bytes))) = from.next().await {
                // A slow client: its program has long ended, and still nothing is cut off.
                tokio::time::sleep(QUIET * 3).await;
                got += bytes.len();
                if got == 500 {
                    break;
                }
            }
            got
        });
        until_quiet(std::pin::pin!(pumps), &activity).await;
        assert_eq!(reader.await.unwrap(), 500);
        // `program` was open all the time.
        drop(program);
    }
}
