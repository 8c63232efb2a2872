//! QEMU's guest agent form: what a stock image has. One request at a time; programs are polled for their end.

use std::{io, sync::Arc, time::Duration};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Class, Error, Result},
    exec::{Exec, ExecSpec},
    file::{FileHead, FileReader, FileSpec},
    guest::Shutdown,
    options::Options,
    pieces::Pieces,
};

mod exec;
mod link;

pub use link::fuzz;
use link::{LARGE, Link, SMALL};

/// Bytes of a file asked for, or sent, at a time: what a request of 1 MiB holds in base64, which some agents take at most.
const PIECE: usize = 384 << 10;
/// How long an error is waited for where success has no answer.
const QUIET: Duration = Duration::from_millis(500);

/// A connection to an agent that speaks QEMU's form.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    link: Mutex<Link>,
    over: CancellationToken,
}

impl Client {
    /// Speaks over the two halves of a stream; whatever is on the way is dropped by the first request.
    pub fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
        options: Options,
    ) -> Self {
        let link = Mutex::new(Link::new(Box::new(from), Box::new(to), options.stall));
        Self(Arc::new(Shared { options, link, over: CancellationToken::new() }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.over.is_cancelled()
    }

    /// Known only once a request has found it out: nobody reads in between.
    pub(crate) async fn closed(&self) {
        self.0.over.cancelled().await;
    }

    pub(crate) async fn call(&self, command: &str, arguments: Value) -> Result<Value> {
        self.ask(command, &arguments, SMALL, self.0.options.answer).await
    }

    async fn ask(
        &self,
        command: &str,
        arguments: &Value,
        most: usize,
        patience: Duration,
    ) -> Result<Value> {
        if !self.is_open() {
            return Err(Error::Closed(None));
        }
        let mut link = self.0.link.lock().await;
        let answered = link.call(command, arguments, most, patience).await;
        if let Err(error) = &answered
            && error.is_connection_over()
        {
            self.0.over.cancel();
        }
        answered
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.call("guest-ping", Value::Null).await.map(drop)
    }

    pub(crate) async fn info(&self) -> Result<Value> {
        let mut info = self.call("guest-info", Value::Null).await?;
        let Some(members) = info.as_object_mut() else {
            return Err(Error::protocol("`guest-info` gives no object"));
        };
        members.insert("agent".to_owned(), "qemu-ga".into());
        Ok(info)
    }

    pub(crate) async fn network(&self) -> Result<Value> {
        let list = self.call("guest-network-get-interfaces", Value::Null).await?;
        let Value::Array(list) = list else {
            return Err(Error::protocol("`guest-network-get-interfaces` gives no list"));
        };
        let interfaces: Vec<Value> = list.iter().map(interface).collect();
        Ok(json!({ "interfaces": interfaces, "routes": [] }))
    }

    pub(crate) async fn metrics(&self) -> Result<Value> {
        let mut metrics = json!({});
        let mut missing = Vec::new();
        match self.call("guest-get-load", Value::Null).await {
            Ok(load) => {
                metrics["load"] =
                    json!({"1m": load["load1m"], "5m": load["load5m"], "15m": load["load15m"]});
            }
            Err(error) => missing.push(not_there("load", &error)?),
        }
        match self.call("guest-get-fsinfo", Value::Null).await {
            Ok(Value::Array(list)) => metrics["file_systems"] = list.iter().map(mount).collect(),
            Ok(_) => return Err(Error::protocol("`guest-get-fsinfo` gives no list")),
            Err(error) => missing.push(not_there("file_systems", &error)?),
        }
        for part in ["uptime_s", "memory", "processors"] {
            missing.push(json!({"part": part, "why": "qemu-ga does not tell it"}));
        }
        metrics["missing"] = missing.into();
        Ok(metrics)
    }

    pub(crate) async fn time(&self) -> Result<u64> {
        let time = self.call("guest-get-time", Value::Null).await?;
        time.as_u64().ok_or_else(|| Error::protocol("`guest-get-time` gives no time"))
    }

    pub(crate) async fn set_time(&self, ns: u64) -> Result<()> {
        self.call("guest-set-time", json!({ "time": ns })).await.map(drop)
    }

    pub(crate) async fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mode = match how {
            Shutdown::Poweroff => "powerdown",
            Shutdown::Reboot => "reboot",
            Shutdown::Halt => "halt",
        };
        if !self.is_open() {
            return Err(Error::Closed(None));
        }
        let mut link = self.0.link.lock().await;
        link.tell("guest-shutdown", &json!({ "mode": mode }), QUIET).await
    }

    pub(crate) async fn exec(&self, spec: ExecSpec) -> Result<Exec> {
        exec::start(self, spec)
    }

    async fn open(&self, path: &str, mode: &str) -> Result<i64> {
        let opened = self.call("guest-file-open", json!({"path": path, "mode": mode})).await?;
        opened.as_i64().ok_or_else(|| Error::protocol("`guest-file-open` gives no handle"))
    }

    /// Gives a handle back. What comes of it is told only where it matters: when a file was written.
    async fn close(&self, handle: i64) -> Result<()> {
        self.call("guest-file-close", json!({ "handle": handle })).await.map(drop)
    }

    async fn read_piece(&self, handle: i64) -> Result<(Vec<u8>, bool)> {
        let arguments = json!({"handle": handle, "count": PIECE});
        let stall = self.0.options.stall;
        let answer = self.ask("guest-file-read", &arguments, SMALL, stall).await?;
        let bytes = decoded(&answer["buf-b64"], "guest-file-read", PIECE)?;
        Ok((bytes, answer["eof"].as_bool().unwrap_or(false)))
    }

    pub(crate) async fn read_file(&self, path: &str) -> Result<FileReader> {
        let handle = self.open(path, "r").await?;
        // The first piece is read before anything is said: a folder opens well, and cannot be read.
        let (first, mut eof) = match self.read_piece(handle).await {
            Ok(read) => read,
            Err(error) => {
                self.close_late(handle).await;
                return Err(error);
            }
        };
        let (pieces, bytes) = mpsc::channel::<io::Result<Vec<u8>>>(1);
        let (client, stall) = (self.clone(), self.0.options.stall);
        tokio::spawn(async move {
            let mut next = Ok(first);
            loop {
                let failed = next.is_err();
                match timeout(stall, pieces.send(next)).await {
                    Ok(Ok(())) if !failed && !eof => {}
                    _ => break,
                }
                next = match client.read_piece(handle).await {
                    Ok((bytes, end)) => {
                        // An agent that gives nothing and no end would be asked for ever.
                        eof = end || bytes.is_empty();
                        Ok(bytes)
                    }
                    Err(error) => Err(io::Error::other(error)),
                };
            }
            client.close_late(handle).await;
        });
        Ok(FileReader { head: FileHead::default(), bytes: Box::pin(Pieces::new(bytes)) })
    }

    /// Closes what is of no more use; a guest that refuses keeps it.
    async fn close_late(&self, handle: i64) {
        if let Err(error) = self.close(handle).await {
            tracing::debug!(%error, "a file in a guest stays open");
        }
    }

    pub(crate) async fn write_file(
        &self,
        file: FileSpec,
        from: impl AsyncRead + Send + Unpin,
    ) -> Result<u64> {
        let handle = self.open(&file.path, "w").await?;
        let written = self.write_pieces(handle, from).await;
        match written {
            Ok(bytes) => self.close(handle).await.map(|()| bytes),
            Err(error) => {
                self.close_late(handle).await;
                Err(error)
            }
        }
    }

    async fn write_pieces(
        &self,
        handle: i64,
        mut from: impl AsyncRead + Send + Unpin,
    ) -> Result<u64> {
        let mut all = 0_u64;
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            let mut limited = (&mut from).take(PIECE as u64);
            limited
                .read_to_end(&mut piece)
                .await
                .map_err(|source| Error::Io { doing: "read what is sent", source })?;
            if piece.is_empty() {
                return Ok(all);
            }
            let arguments = json!({"handle": handle, "buf-b64": BASE64.encode(&piece)});
            let stall = self.0.options.stall;
            let answer = self.ask("guest-file-write", &arguments, SMALL, stall).await?;
            if answer["count"].as_u64() != Some(piece.len() as u64) {
                let text =
                    "it took only a part of what was written: its disk may be full".to_owned();
                return Err(Error::Refused { class: Class::Failed, text, causes: Vec::new() });
            }
            all += piece.len() as u64;
        }
    }
}

/// Bytes in base64, at most so many.
fn decoded(text: &Value, command: &str, most: usize) -> Result<Vec<u8>> {
    let wrong = || Error::protocol(format!("`{command}` gives no base64"));
    let text = text.as_str().unwrap_or_default();
    let bytes = BASE64.decode(text).map_err(|_| wrong())?;
    if bytes.len() > most {
        return Err(Error::protocol(format!("`{command}` gives more than was asked for")));
    }
    Ok(bytes)
}

fn not_there(part: &str, error: &Error) -> Result<Value> {
    match error {
        Error::Refused { text, .. } => Ok(json!({"part": part, "why": text})),
        _ => Err(Error::Closed(None)),
    }
}

/// An interface in our own words.
fn interface(given: &Value) -> Value {
    let statistics: serde_json::Map<String, Value> = [
        ("rx_bytes", "rx-bytes"),
        ("tx_bytes", "tx-bytes"),
        ("rx_packets", "rx-packets"),
        ("tx_packets", "tx-packets"),
        ("rx_errors", "rx-errs"),
        ("tx_errors", "tx-errs"),
        ("rx_dropped", "rx-dropped"),
        ("tx_dropped", "tx-dropped"),
    ]
    .into_iter()
    .map(|(ours, theirs)| (ours.to_owned(), given["statistics"][theirs].clone()))
    .collect();
    let addresses: Vec<Value> = given["ip-addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|address| json!({"address": address["ip-address"], "prefix": address["prefix"]}))
        .collect();
    json!({
        "name": given["name"],
        "mac": given["hardware-address"],
        "addresses": addresses,
        "statistics": statistics,
    })
}

/// A file system in our own words.
fn mount(given: &Value) -> Value {
    let (total, used) = (given["total-bytes"].as_u64(), given["used-bytes"].as_u64());
    let free = total.zip(used).map(|(total, used)| total.saturating_sub(used));
    json!({
        "device": given["name"],
        "folder": given["mountpoint"],
        "type": given["type"],
        "total_bytes": total,
        "free_bytes": free,
    })
}

/// Largest sum of what a program may print that is taken.
const PRINTED: usize = LARGE;
