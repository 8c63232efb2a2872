//! The byte protocol of the manager that this one succeeds, for clients that cannot be changed. Off unless asked for.
//!
//! It knows no user: whoever reaches its ports may read, write and run what the service may. So it listens on the
//! loopback device unless it is forced to do more, and files stay below one folder.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::fs::OFlags;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vnode_action::{Session, Spec};
use vnode_beneath::{Dir, Scope};
use vnode_vnfpkg::By;

use crate::{
    error::{Failure, Result},
    manager::Manager,
    onboard::blocking,
    service::Answer,
    verbs::{self, Request},
};

pub(crate) mod frame;
mod peer;

use frame::{Asked, Incoming, Wrong};

/// Connections of each port at a time; more wait in the kernel's queue. (`QUEUEDCNXS`)
const CONNECTIONS: usize = 20;
/// How long a client may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a package may say nothing, and take in all.
const PACKAGE_SILENCE: Duration = Duration::from_secs(30);
const PACKAGE: Duration = Duration::from_secs(1800);
/// How long a command may run, and the bytes of each of its streams that are told.
const COMMAND: Duration = Duration::from_secs(600);
const OUTPUT: usize = 16 << 20;

/// What is listened for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `PORTVM` and `PORTVP`.
    pub(crate) requests: SocketAddr,
    pub(crate) packages: SocketAddr,
    /// `PTW`: the process that a status is of.
    pub(crate) process: Option<String>,
    /// Files stay below it, whatever path is sent.
    pub(crate) root: PathBuf,
}

#[derive(Debug)]
struct Legacy {
    manager: Manager,
    process: Option<String>,
    root: Dir,
}

/// Both ports and the folder, held: nothing that can fail is left to do.
#[derive(Debug)]
pub(crate) struct Bound {
    requests: TcpListener,
    packages: TcpListener,
    process: Option<String>,
    root: Dir,
}

/// Takes both ports; who comes waits until they are served.
///
/// # Errors
/// When it cannot.
pub(crate) async fn bind(options: Options) -> Result<Bound> {
    let failed = |what: String| move |error: io::Error| Failure::internal(&what, &error);
    let folder = options.root.display().to_string();
    std::fs::create_dir_all(&options.root).map_err(failed(format!("make `{folder}`")))?;
    let root = Dir::open_ambient(&options.root, Scope::InRoot)
        .map_err(|error| Failure::internal(&format!("open `{folder}`"), &error))?;
    let listen = |address: SocketAddr| async move {
        TcpListener::bind(address).await.map_err(failed(format!("listen on {address}")))
    };
    let (requests, packages) = (listen(options.requests).await?, listen(options.packages).await?);
    // As they are: 0 asks for any that is free.
    let at = |listener: &TcpListener| listener.local_addr().map_err(failed("listen".to_owned()));
    tracing::warn!(
        requests = %at(&requests)?, packages = %at(&packages)?,
        "the old protocol is on: whoever reaches these ports may do what the service may"
    );
    Ok(Bound { requests, packages, process: options.process, root })
}

impl Bound {
    /// Serves both ports until `stop`.
    pub(crate) fn serve(self, manager: &Manager, stop: &CancellationToken) {
        let Self { requests, packages, process, root } = self;
        let legacy = Arc::new(Legacy { manager: manager.clone(), process, root });
        for (listener, is_package) in [(requests, false), (packages, true)] {
            tokio::spawn(accept(Arc::clone(&legacy), listener, is_package, stop.clone()));
        }
    }
}

async fn accept(
    legacy: Arc<Legacy>,
    listener: TcpListener,
    is_package: bool,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (legacy, stop) = (Arc::clone(&legacy), stop.child_token());
                    tokio::spawn(async move {
                        let served = match is_package {
                            true => legacy.package(stream, peer).await,
                            false => legacy.requests(stream, peer, stop).await,
                        };
                        if let Err(error) = served {
                            tracing::debug!(%peer, %error, "a client of the old protocol went away");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = stop.cancelled() => return,
        }
    }
}

impl Legacy {
    async fn requests(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        peer::probe(&stream)?;
        write(&mut stream, b"Connected !").await?;
        let mut incoming = Incoming::default();
        let mut buffer = vec![0; 16 << 10];
        loop {
            match incoming.next() {
                Ok(Some(asked)) => {
                    let last = matches!(asked, Asked::Execute(_));
                    let answer = {
                        let answer = self.answer(asked, peer, &stop);
                        tokio::pin!(answer);
                        tokio::select! {
                            answer = &mut answer => answer,
                            // Nobody is there to read what a command prints.
                            () = peer::gone(&stream, peer), if last => {
                                stop.cancel();
                                answer.await
                            }
                        }
                    };
                    write(&mut stream, &answer).await?;
                    if last {
                        return stream.shutdown().await;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(Wrong::Silent) => return stream.shutdown().await,
                Err(Wrong::Told(what)) => {
                    write(&mut stream, format!("ERROR. {what}").as_bytes()).await?;
                    return stream.shutdown().await;
                }
            }
            let read = timeout(SILENCE, stream.read(&mut buffer)).await??;
            if read == 0 {
                return Ok(());
            }
            incoming.add(&buffer[..read]);
        }
    }

    async fn answer(&self, asked: Asked, peer: SocketAddr, stop: &CancellationToken) -> Vec<u8> {
        let (verb, object) = match asked {
            Asked::Status => return self.status().await,
            Asked::Push(object) => ("push", object),
            Asked::Delete(object) => ("delete", object),
            Asked::Execute(object) => ("execute", object),
        };
        let key = if verb == "execute" { "cmd" } else { "file" };
        let Some(target) = object.get(key).and_then(Value::as_str).map(str::to_owned) else {
            return format!("ERROR. `{key}` is missing").into_bytes();
        };
        // Of a command only its first word: the others may be secrets.
        let shown = match verb {
            "execute" => target.split_whitespace().next().unwrap_or_default(),
            _ => &target,
        };
        let shown: String = shown.chars().take(256).collect();
        let data = json!({ "verb": format!("legacy-{verb}"), "target": shown, "peer": peer });
        self.manager.core.event("request", "legacy", None, data);
        let done = match verb {
            "push" => self.push(&target, &object).await.map(|()| b"OK".to_vec()),
            "delete" => self.delete(&target).await.map(|()| b"DELETED".to_vec()),
            _ => execute(&target, stop).await,
        };
        done.unwrap_or_else(|what| format!("ERROR. {what}").into_bytes())
    }

    async fn status(&self) -> Vec<u8> {
        let Some(name) = self.process.clone() else {
            return b"ERROR. no process is named for a status".to_vec();
        };
        let looked = blocking(move || verbs::process_status(&name, By::default())).await;
        match looked.and_then(|looked| looked) {
            Ok(status) => status["state"].as_str().unwrap_or("DOWN").as_bytes().to_vec(),
            Err(failure) => format!("ERROR. {}", failure.detail).into_bytes(),
        }
    }

    /// The first part begins the file anew, the others are added.
    async fn push(&self, path: &str, object: &Map<String, Value>) -> Result<(), String> {
        let number = |key: &str| {
            let value = object.get(key)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let (window, parts) = (number("window").unwrap_or(1), number("totalparts").unwrap_or(1));
        if window == 0 || parts == 0 || window > parts {
            return Err(format!("there is no part {window} of {parts}"));
        }
        let content = object.get("content").and_then(Value::as_str).unwrap_or_default();
        let content: String = content.chars().filter(|letter| !letter.is_whitespace()).collect();
        let content = BASE64_STANDARD.decode(content).map_err(|error| error.to_string())?;
        let root = self.root.try_clone().map_err(|error| error.to_string())?;
        let path = path.to_owned();
        let written = blocking(move || {
            let begin = if window == 1 { OFlags::TRUNC } else { OFlags::APPEND };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOCTTY | OFlags::NONBLOCK | begin;
            let mut file = root.open_with(&path, flags, 0o644).map_err(|error| told(&error))?;
            file.write_all(&content).map_err(|error| format!("cannot write `{path}`: {error}"))
        });
        written.await.map_err(|failure| failure.detail)?
    }

    async fn delete(&self, path: &str) -> Result<(), String> {
        let root = self.root.try_clone().map_err(|error| error.to_string())?;
        let path = path.to_owned();
        let removed = blocking(move || root.remove_file(&path).map_err(|error| told(&error)));
        removed.await.map_err(|failure| failure.detail)?
    }

    /// A package to the end of the stream; without a word when all went well.
    async fn package(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let received = timeout(PACKAGE, self.receive(&mut stream)).await;
        let received =
            received.unwrap_or_else(|_| Err(Failure::invalid("the package took too long")));
        let done = match received {
            Ok((file, length)) => {
                let data = json!({ "verb": "legacy-package", "bytes": length, "peer": peer });
                self.manager.core.event("request", "legacy", None, data);
                let request = Request::Push { length, instantiate: true };
                let mut answer = Answer::new(tokio::io::sink());
                let uid = rustix::process::geteuid().as_raw();
                let mut file = FromFile(file);
                verbs::perform(&self.manager, request, &mut file, &mut answer, uid).await.map(drop)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            let text = format!("ERROR. {} {}", failure.code, failure.detail);
            write(&mut stream, text.as_bytes()).await?;
        }
        stream.shutdown().await
    }

    async fn receive(&self, stream: &mut TcpStream) -> Result<(File, u64)> {
        let failed = |error: io::Error| Failure::internal("take the package in", &error);
        let core = &self.manager.core;
        let most = core.settings.limits.archive_bytes;
        let mut file = crate::tree::nameless(&core.paths.staging()).map_err(failed)?;
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            let read = timeout(PACKAGE_SILENCE, stream.read(&mut buffer)).await;
            match read.map_err(|_| Failure::invalid("nothing came for too long"))? {
                Ok(0) => break,
                Ok(read) => {
                    length += read as u64;
                    if length > most {
                        return Err(Failure::invalid(format!(
                            "a package has at most {most} bytes"
                        )));
                    }
                    file.write_all(&buffer[..read]).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        file.rewind().map_err(failed)?;
        Ok((file, length))
    }
}

fn told(error: &vnode_beneath::DirError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |c| format!(": {c}"));
    format!("{error}{cause}")
}

/// Writes to a client that takes it.
async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    timeout(SILENCE, stream.write_all(bytes)).await?
}

/// A line for the shell. What it printed as errors comes first; how it ended was never told.
async fn execute(line: &str, stop: &CancellationToken) -> Result<Vec<u8>, String> {
    let spec = Spec::new(["/bin/sh", "-c", line])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .folder("/")
        .session(Session::NewSession)
        .capture(OUTPUT)
        .time_limit(COMMAND);
    let ran = vnode_action::run(spec, stop).await;
    let output = ran.map_err(|error| error.to_string())?;
    if output.stderr.is_empty() {
        return Ok(output.stdout);
    }
    let mut answer = b"ERROR. ".to_vec();
    answer.extend(&output.stderr);
    if !output.stdout.is_empty() {
        answer.push(b'\n');
        answer.extend(&output.stdout);
    }
    Ok(answer)
}

/// A regular file, which never lets anybody wait.
struct FromFile(File);

impl AsyncRead for FromFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(into.initialize_unfilled())?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}
