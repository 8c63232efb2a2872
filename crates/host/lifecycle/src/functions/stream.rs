//! One `vnf attend` in a node: its two streams.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vnode_driver::{Exec, ExecSpec, Reader, Writer};

use super::copied;
use super::sightings::{Ear, Words};
use crate::agent::PROGRAM;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::{Inner, driver_error};
use crate::registry::NodeEntry;
use crate::request::{self, Through};

/// The agent's verb.
pub(super) const VERB: &str = "attend";
/// Bytes of what it complains of that are passed on.
const COMPLAINT: u64 = 4 << 10;

/// Attends to the service in a node until that ends; `true`: there was one. With an `ear`, the agent is told what that
/// hears.
pub(super) async fn attend(
    inner: &Arc<Inner>,
    entry: &Arc<NodeEntry>,
    machine: bool,
    ear: Option<&Ear>,
    pace: &mut copied::Pace,
) -> Result<bool> {
    let cursor = copied::load(inner, entry).await?.unwrap_or_default();
    // Kept from before the agent hears of us: it looks at all when it does.
    let words = ear.map(Ear::words);
    let mut argv = vec![VERB.to_owned(), format!("--after={}", cursor.after)];
    if !cursor.journal.is_empty() {
        argv.push(format!("--journal={}", cursor.journal));
    }
    if words.is_some() {
        argv.push("--processes".to_owned());
    }
    let mut exec = begin(inner, entry, machine, argv).await?;
    let (Some(stdin), Some(stdout)) = (exec.stdin.take(), exec.stdout.take()) else {
        return Err(Error::failed("the agent's program has no streams"));
    };
    let complaints = log(entry, exec.stderr.take());
    // Whatever comes first; dropping the program then ends it, if it has not ended.
    tokio::select! {
        copied = copied::copy(inner, entry, cursor, pace, stdout) => copied,
        told = tell(stdin, words) => told.map(|()| true),
        () = complaints => unreachable!("it goes on for ever"),
    }
}

async fn begin(
    inner: &Arc<Inner>,
    entry: &Arc<NodeEntry>,
    machine: bool,
    argv: Vec<String>,
) -> Result<Exec> {
    if machine {
        let host = inner.facade.get().and_then(std::sync::Weak::upgrade);
        let host: Arc<Host> = host.ok_or_else(|| Error::state("the daemon is ending"))?;
        let request = request::Exec { argv, through: Through::Vnf, ..request::Exec::default() };
        return host.exec_by_agent(entry, request).await;
    }
    let mut words = vec![PROGRAM.to_owned(), "vnf".to_owned()];
    words.extend(argv);
    let spec = ExecSpec {
        argv: words,
        user: Some("0:0".to_owned()),
        cwd: Some("/".to_owned()),
        ..ExecSpec::default()
    };
    entry.live()?.exec(&spec).await.map_err(driver_error)
}

/// Tells the agent what is heard; ends when nothing more will be.
async fn tell(mut to: Writer, words: Option<Words<'_>>) -> Result<()> {
    let Some(mut words) = words else { return std::future::pending().await };
    while let Some(word) = words.next().await {
        let mut line = serde_json::to_vec(&word).expect("a word is plain data that JSON can hold");
        line.push(b'\n');
        let written = async {
            to.write_all(&line).await?;
            to.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "an agent no longer listens");
            // Its end shows in what it says.
            return std::future::pending().await;
        }
    }
    Ok(())
}

/// Logs the beginning of what it complains of; the rest is thrown away. Never ends.
async fn log(entry: &NodeEntry, from: Option<Reader>) {
    if let Some(mut from) = from {
        let mut bytes = Vec::new();
        let read = (&mut from).take(COMPLAINT).read_to_end(&mut bytes).await;
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(&bytes);
            tracing::debug!(node = %entry.subject(), "attend: {}", text.trim().escape_debug());
        }
        if read.is_ok() {
            // It ends with the program.
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
    }
    std::future::pending().await
}
