//! An operator's programs, run for events, as vmcatcher runs its event handlers.
//!
//! The program gets the event as JSON on its input, and its parts in the environment: `VNODE_EVENT_KIND`,
//! `VNODE_EVENT_SUBJECT`, `VNODE_EVENT_SEQ`, `VNODE_EVENT_TIME` (RFC 3339), `VNODE_EVENT_OPERATION` (empty when
//! there is none). One program runs at a time for each handler, in order of the events; it is tried again when
//! it fails. What becomes of it is an event itself: `handler.failed`, `handler.lagged`. No handler is run for
//! events of handlers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vnode_action::{Output, Spec, Stdin, run};

use crate::{
    event::Event,
    log::{Filter, Log},
    subscription::{Ended, Subscription},
};

/// What is kept of a program's error output.
const OUTPUT_BYTES: usize = 4096;
/// Kinds of events that tell of handlers.
const OWN_KINDS: &str = "handler.";

/// A program and the events it is run for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handler {
    /// Names it in events: `notify-desk`.
    pub name: String,
    /// The program and its arguments; no shell.
    pub argv: Vec<String>,
    /// Kinds of events begin with this; empty wants all.
    pub kind_prefix: String,
    pub subject_prefix: String,
    /// Longest time of one run.
    pub time_limit: Duration,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// Pause before the first retry; doubled for each.
    pub retry_pause: Duration,
}

impl Default for Handler {
    fn default() -> Self {
        Self {
            name: String::new(),
            argv: Vec::new(),
            kind_prefix: String::new(),
            subject_prefix: String::new(),
            time_limit: Duration::from_secs(60),
            retries: 2,
            retry_pause: Duration::from_secs(1),
        }
    }
}

impl Handler {
    /// A handler of all events, with a minute for each run and two retries.
    pub fn new<A: Into<String>>(
        name: impl Into<String>,
        argv: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            name: name.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Runs the program for each event after this call, until cancelled or the log is gone. To be spawned.
    ///
    /// Events wait in the log, not here: a program that is slow for thousands of events is told to have
    /// lagged, and goes on with the stored ones.
    pub fn serve(
        self,
        log: &Arc<Log>,
        cancellation: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let filter = Filter {
            subject_prefix: self.subject_prefix.clone(),
            kind_prefix: self.kind_prefix.clone(),
        };
        let events = log.subscribe_to(None, filter.clone());
        self.follow(Arc::downgrade(log), events, filter, cancellation)
    }

    async fn follow(
        self,
        log: Weak<Log>,
        mut events: Subscription,
        filter: Filter,
        cancellation: CancellationToken,
    ) {
        loop {
            let next = tokio::select! {
                biased;
                () = cancellation.cancelled() => return,
                next = events.next() => next,
            };
            // Held no longer than one event: else the log would never be gone.
            let Some(log) = log.upgrade() else { return };
            match next {
                Ok(event) if event.kind.starts_with(OWN_KINDS) => {}
                Ok(event) => {
                    if let Err(error) = self.handle(&event, &cancellation).await
                        && !cancellation.is_cancelled()
                    {
                        self.tell(&log, "failed", &event, &error);
                    }
                }
                Err(Ended::Lagged { after }) => {
                    let data = json!({ "handler": self.name, "after": after });
                    log.append("handler.lagged", format!("handler/{}", self.name), None, data);
                    events = log.subscribe_to(Some(after), filter.clone());
                }
                Err(Ended::Closed) => return,
                Err(Ended::Read(error)) => {
                    tracing::error!(handler = self.name, %error, "an event cannot be read; going on after it");
                    events = log.subscribe_to(Some(events.position() + 1), filter.clone());
                }
            }
        }
    }

    fn tell(&self, log: &Log, what: &str, event: &Event, error: &str) {
        let data = json!({
            "handler": self.name, "argv": self.argv, "event": event.seq, "kind": event.kind,
            "subject": event.subject, "error": error,
        });
        let operation = event.operation.as_deref();
        log.append(format!("handler.{what}"), format!("handler/{}", self.name), operation, data);
    }

    /// Runs the program until it succeeds or the retries are used up; the error says why the last run failed.
    async fn handle(&self, event: &Event, cancellation: &CancellationToken) -> Result<(), String> {
        let mut pause = self.retry_pause;
        let mut tries = 0;
        loop {
            let error = match self.run_once(event, cancellation).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if tries >= self.retries {
                return Err(error);
            }
            tries += 1;
            tokio::select! {
                biased;
                () = cancellation.cancelled() => return Err(error),
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2);
        }
    }

    async fn run_once(
        &self,
        event: &Event,
        cancellation: &CancellationToken,
    ) -> Result<(), String> {
        let input = serde_json::to_vec(event).map_err(|error| error.to_string())?;
        let spec = Spec::new(&self.argv)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("VNODE_EVENT_KIND", &event.kind)
            .env("VNODE_EVENT_SUBJECT", &event.subject)
            .env("VNODE_EVENT_SEQ", event.seq.to_string())
            .env("VNODE_EVENT_TIME", event.time.to_string())
            .env("VNODE_EVENT_OPERATION", event.operation.as_deref().unwrap_or_default())
            .stdin(Stdin::Bytes(input))
            .capture(OUTPUT_BYTES)
            .time_limit(self.time_limit);
        match run(spec, cancellation).await {
            Ok(output) if output.success() => Ok(()),
            Ok(output) => Err(failure(&output)),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                Err(cause.map_or(error.to_string(), |cause| format!("{error}: {cause}")))
            }
        }
    }
}

/// How it ended, and the last line it said.
fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{}: {}", output.status, line.trim()),
        None => output.status.to_string(),
    }
}
