//! Files and folders of a guest as tar streams.
//!
//! A single file needs nothing of the guest but its agent; a folder, and whatever is unpacked, needs its `tar`.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    error::{Class, Error, Result},
    exec::{Exec, ExecSpec, Reader},
    file::{FileReader, FileSpec},
    guest::Guest,
    pieces::Pieces,
    probe::by_chance,
};

/// Bytes moved at a time.
const PIECE: usize = 64 << 10;
/// What is kept of a failed `tar`'s complaints, bytes.
const COMPLAINT: usize = 4096;
/// A file that says it is empty and is not (of `/proc`) is read so far to learn its size, bytes.
const UNKNOWN: u64 = 1 << 20;
/// What goes through QEMU's form in one request; more is put in a file of the guest first.
const AT_ONCE: usize = 256 << 10;
/// Folder for such files.
const ASIDE: &str = "/var/tmp";
const BLOCK: u64 = 512;

/// As [`Guest::archive_out`].
pub(crate) async fn out(guest: &Guest, path: &str) -> Result<Reader> {
    check(path)?;
    let (folder, name) = match path.trim_end_matches('/').rsplit_once('/') {
        Some((folder, name)) if !matches!(name, "" | "." | "..") => {
            (if folder.is_empty() { "/" } else { folder }, name)
        }
        _ => (path, "."),
    };
    match (guest.read_file(path).await, guest) {
        (Ok(file), Guest::Native(_)) => return one_file(name, file).await,
        // A folder, or a file whose rights this form does not tell: the guest's tar does it.
        (Ok(_), _) => {}
        (Err(Error::Refused { class: Class::Usage | Class::Failed, .. }), _) => {}
        (Err(error), _) => return Err(error),
    }
    let mut words = words(&["tar", "-c", "-f", "-", "-C", folder, "--", name]);
    if let Guest::Native(_) = guest {
        let exec = guest.exec(ExecSpec { argv: words, ..ExecSpec::default() }).await?;
        return Ok(stream(exec));
    }
    // What a program prints is cut at 16 MiB in this form: it goes through a file.
    let aside = aside();
    words[3].clone_from(&aside);
    let packed = run(guest, words, None, &b""[..]).await;
    let opened = match packed {
        Ok(()) => guest.read_file(&aside).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(file) => Ok(passed_on(file, guest.clone(), aside)),
        Err(error) => {
            remove(guest, aside).await;
            Err(error)
        }
    }
}

/// As [`Guest::archive_in`].
pub(crate) async fn into(
    guest: &Guest,
    path: &str,
    mut tar: impl AsyncRead + Send + Unpin,
) -> Result<()> {
    check(path)?;
    if let Guest::Native(_) = guest {
        return run(guest, words(&["tar", "-x", "-f", "-"]), Some(path), tar).await;
    }
    let mut first = Vec::new();
    let read = (&mut tar).take(AT_ONCE as u64).read_to_end(&mut first).await;
    read.map_err(|source| Error::Io { doing: "read the archive", source })?;
    if first.len() < AT_ONCE {
        return run(guest, words(&["tar", "-x", "-f", "-"]), Some(path), &first[..]).await;
    }
    let aside = aside();
    let file = FileSpec { mode: 0o600, ..FileSpec::new(&aside) };
    let unpacked = match guest.write_file(file, first.chain(tar)).await {
        Ok(_) => run(guest, words(&["tar", "-x", "-f", &aside]), Some(path), &b""[..]).await,
        Err(error) => Err(error),
    };
    remove(guest, aside).await;
    unpacked
}

fn check(path: &str) -> Result<()> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    let text = format!("`{path}` is no absolute path");
    Err(Error::Refused { class: Class::Usage, text, causes: Vec::new() })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn aside() -> String {
    format!("{ASIDE}/.vnode-{:08x}{:08x}.tar", by_chance(), by_chance())
}

async fn remove(guest: &Guest, aside: String) {
    if let Err(error) = run(guest, words(&["rm", "-f", &aside]), None, &b""[..]).await {
        tracing::debug!(%error, aside, "a file stays in a guest");
    }
}

/// Runs a program that has nothing to say but why it failed.
async fn run(
    guest: &Guest,
    argv: Vec<String>,
    folder: Option<&str>,
    mut input: impl AsyncRead + Send + Unpin,
) -> Result<()> {
    let program = argv.first().cloned().unwrap_or_default();
    // Gone to before the program begins: tar looks at its own folder only when a member comes.
    let folder = folder.map(str::to_owned);
    let spec = ExecSpec { argv, folder, stdin: true, ..ExecSpec::default() };
    let mut exec = guest.exec(spec).await?;
    let (stdin, stderr) = (exec.stdin.take(), exec.stderr.take());
    drop(exec.stdout.take());
    let feeding = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            let read = input.read(&mut piece).await;
            let length = read.map_err(|source| Error::Io { doing: "read the archive", source })?;
            // A program that has ended takes no more; why, it says itself.
            if length == 0 || stdin.write_all(&piece[..length]).await.is_err() {
                return Ok(());
            }
        }
    };
    let ending = async {
        let complaint = complaint(stderr).await;
        (complaint, exec.wait().await)
    };
    // An archive that breaks off must not be taken for a whole one: dropping the program kills it.
    let mut feeding = std::pin::pin!(feeding);
    let mut ending = std::pin::pin!(ending);
    let mut fed = false;
    let (complaint, exit) = loop {
        tokio::select! {
            result = &mut feeding, if !fed => {
                result?;
                fed = true;
            }
            ended = &mut ending => break ended,
        }
    };
    match exit?.shell_code() {
        0 => Ok(()),
        code => Err(failed(&program, code, &complaint)),
    }
}

fn failed(program: &str, code: i32, complaint: &str) -> Error {
    let class = match complaint {
        text if text.contains("No such file") || text.contains("Not a directory") => {
            Class::NotFound
        }
        _ if code == 127 => Class::Unsupported,
        _ => Class::Failed,
    };
    let text = format!("`{program}` in the guest ended with {code}");
    let causes = if complaint.is_empty() { Vec::new() } else { vec![complaint.to_owned()] };
    Error::Refused { class, text, causes }
}

/// The beginning of what a program complains of; the rest is read and dropped.
async fn complaint(stderr: Option<Reader>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut kept = Vec::new();
    let mut piece = vec![0; COMPLAINT];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let room = COMPLAINT - kept.len();
        kept.extend_from_slice(&piece[..length.min(room)]);
    }
    crate::text::shown(String::from_utf8_lossy(&kept).trim())
}

/// What a program prints, with an error in place of the end when it failed.
fn stream(mut exec: Exec) -> Reader {
    let (to, from) = mpsc::channel::<io::Result<Vec<u8>>>(1);
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    tokio::spawn(async move {
        let moving = async {
            let Some(mut stdout) = stdout else { return true };
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                match stdout.read_buf(&mut piece).await {
                    Ok(0) => return true,
                    Ok(_) if to.send(Ok(piece)).await.is_ok() => {}
                    // Nobody reads on, or it broke, which the program's end tells.
                    Ok(_) => return false,
                    Err(_) => return true,
                }
            }
        };
        let complaining = complaint(stderr);
        let mut moving = std::pin::pin!(moving);
        let mut complaining = std::pin::pin!(complaining);
        let mut text = None;
        loop {
            tokio::select! {
                wanted = &mut moving => {
                    if !wanted {
                        return;
                    }
                    break;
                }
                said = &mut complaining, if text.is_none() => text = Some(said),
            }
        }
        let text = match text {
            Some(text) => text,
            None => complaining.await,
        };
        let error = match exec.wait().await {
            Ok(exit) if exit.shell_code() == 0 => return,
            Ok(exit) => failed("tar", exit.shell_code(), &text),
            Err(error) => error,
        };
        // Nobody reads on.
        let _ = to.send(Err(io::Error::other(error))).await;
    });
    Box::pin(Pieces::new(from))
}

/// A file that goes once it has been read.
fn passed_on(mut file: FileReader, guest: Guest, aside: String) -> Reader {
    let (to, from) = mpsc::channel::<io::Result<Vec<u8>>>(1);
    tokio::spawn(async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let next = match file.bytes.read_buf(&mut piece).await {
                Ok(0) => break,
                Ok(_) => Ok(piece),
                Err(error) => Err(error),
            };
            let over = next.is_err();
            if to.send(next).await.is_err() || over {
                break;
            }
        }
        drop((file, to));
        remove(&guest, aside).await;
    });
    Box::pin(Pieces::new(from))
}

/// An archive of one file.
async fn one_file(name: &str, file: FileReader) -> Result<Reader> {
    let FileReader { head, mut bytes } = file;
    let mut known = Vec::new();
    let mut size = head.size.unwrap_or(0);
    if size == 0 {
        let read = (&mut bytes).take(UNKNOWN).read_to_end(&mut known).await;
        read.map_err(|source| Error::Io { doing: "read a guest's file", source })?;
        size = known.len() as u64;
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(head.mode.unwrap_or(0o644));
    header.set_uid(u64::from(head.uid.unwrap_or(0)));
    header.set_gid(u64::from(head.gid.unwrap_or(0)));
    header.set_mtime(head.modified_s.and_then(|time| u64::try_from(time).ok()).unwrap_or(0));
    header.set_size(size);
    let mut front = tar::Builder::new(Vec::new());
    front
        .append_data(&mut header, name, io::empty())
        .map_err(|source| Error::Io { doing: "make an archive's head", source })?;
    // Without the end mark, which `into_inner` would write: the bytes come first.
    let end = front.get_ref().len();
    let mut front = front
        .into_inner()
        .map_err(|source| Error::Io { doing: "make an archive's head", source })?;
    front.truncate(end);
    // A file that shrinks meanwhile is filled up, one that grows is cut: its size has been said.
    let body = io::Cursor::new(known).chain(Whole { bytes, over: false });
    let body = body.chain(tokio::io::repeat(0)).take(size);
    let padding = (BLOCK - size % BLOCK) % BLOCK + 2 * BLOCK;
    let back = tokio::io::repeat(0).take(padding);
    Ok(Box::pin(io::Cursor::new(front).chain(body).chain(back)))
}

/// Reads to the end; what breaks off before stays an error however often it is asked.
struct Whole {
    bytes: Reader,
    over: bool,
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        if self.over {
            return std::task::Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let read = std::task::ready!(self.bytes.as_mut().poll_read(cx, buf));
        self.over = read.is_err();
        std::task::Poll::Ready(read)
    }
}
