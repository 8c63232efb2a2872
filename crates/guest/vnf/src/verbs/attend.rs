//! A host that follows: it is told of every event once, and tells of the processes that it sees start.

use std::pin::pin;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use vnode_event::{Ended, Filter};
use vnode_processes::Word;
use vnode_store::record;

use crate::{
    core::put,
    error::{Failure, Result},
    manager::Manager,
    service::Answer,
};

/// Where the name of this state folder's journal is kept.
const JOURNAL: &str = "vnf/journal";

/// What a host knows when it comes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attend {
    /// The journal that `after` counts in.
    pub journal: Option<String>,
    /// The last event that the host has.
    pub after: u64,
    /// Whether it tells of processes.
    pub processes: bool,
}

/// Names the journal of a state folder for as long as that stands.
async fn journal(manager: &Manager) -> Result<String> {
    let core = &manager.core;
    let stored = core.store.get(JOURNAL).await;
    let stored = stored.map_err(|error| Failure::internal("read the store", &error))?;
    if let Some(name) = stored.and_then(|entry| record::decode(&entry.value, &[]).ok()) {
        return Ok(name);
    }
    let name = uuid::Uuid::now_v7().to_string();
    core.commit(vec![put(JOURNAL.to_owned(), &name)?]).await?;
    Ok(name)
}

/// Serves a host until it goes. First comes one item that says what this journal is and where it goes on, then an item
/// for each event.
pub(super) async fn attend<R, W>(
    manager: &Manager,
    terms: Attend,
    from: &mut R,
    answer: &mut Answer<W>,
) -> Result<Value>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let core = &manager.core;
    let journal = journal(manager).await?;
    let after = match terms.journal {
        // A folder that was put back to what it once was has numbers that the host knows for other events.
        Some(known) if known == journal => terms.after.min(core.log.last_seq()),
        _ => 0,
    };
    let attended = terms.processes.then(|| core.watcher.attend());
    let first = json!({
        "journal": journal, "after": after, "watch": core.watcher.mechanism(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    answer.item(first).await?;
    let filter = Filter { subject_prefix: String::new(), kind_prefix: "vnf.".to_owned() };
    let telling = pin!(async {
        let mut subscription = core.log.subscribe_to(Some(after), filter.clone());
        loop {
            match subscription.next().await {
                Ok(event) => answer.item(json!(*event)).await?,
                // It was slow: what went by is still stored.
                Err(Ended::Lagged { after }) => {
                    subscription = core.log.subscribe_to(Some(after), filter.clone());
                }
                Err(error) => return Err(Failure::internal("follow the events", &error)),
            }
        }
    });
    let told = pin!(async {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = vnode_processes::LINE as u64;
            let read = (&mut from).take(limit).read_until(b'\n', &mut line).await;
            read.map_err(|error| Failure::internal("listen to the host", &error))?;
            if line.is_empty() {
                return Ok(json!({}));
            }
            let word = serde_json::from_slice::<Word>(&line);
            let word = word.map_err(|error| Failure::invalid(format!("no word: {error}")))?;
            core.watcher.hear(word).await;
        }
    });
    let ended = tokio::select! {
        ended = telling => ended,
        ended = told => ended,
    };
    drop(attended);
    ended
}
