//! Who asked for what, with what result: an event for every request that changes something, reads a file or starts a
//! program, and for every one that was refused.
//!
//! The last of them are kept in memory, for the command `events`; all of them go to the file of `[command.events]` where
//! one is named. Neither holds what a command was given beside its target: it may be a secret.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    command::{Class, CommandError, Form},
    context::Context,
};

/// Events kept in memory.
const KEPT: usize = 256;
/// Bytes of a target that are told.
const TARGET: usize = 1024;
/// Bytes after which the file makes room for a new one; two are kept.
const FILE: u64 = 8 << 20;

/// `[command.events]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// A line of JSON for each event is added to it; made with mode 0600.
    file: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    /// Their numbers and texts: as a value an event takes two kilobytes, which an idle agent has no use for.
    events: VecDeque<(u64, Box<str>)>,
}

/// The events of the agent, of all channels.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    kept: Mutex<Kept>,
    added: Notify,
}

impl Audit {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events after a number that are still kept, and the number of the last one there was.
    pub(crate) fn after(&self, number: u64) -> (Vec<Value>, u64) {
        let kept = self.kept();
        let wanted = kept.events.iter().filter(|(seq, _)| *seq > number);
        let events =
            wanted.map(|(_, text)| serde_json::from_str(text).expect("a value's own text"));
        (events.collect(), kept.last)
    }

    /// Returns when there is one after that number.
    pub(crate) async fn beyond(&self, number: u64) {
        loop {
            let added = self.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if self.kept().last > number {
                return;
            }
            added.await;
        }
    }

    fn add(&self, mut event: Value, file: Option<&Path>) {
        let text = {
            let mut kept = self.kept();
            kept.last += 1;
            let seq = kept.last;
            event["seq"] = seq.into();
            let text = event.to_string();
            if kept.events.len() == KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back((seq, text.as_str().into()));
            text
        };
        self.added.notify_waiters();
        if let Some(file) = file
            && let Err(error) = write(file, &text)
        {
            tracing::error!(file = %file.display(), %error, "an event is not on record");
        }
    }
}

fn write(path: &Path, event: &str) -> io::Result<()> {
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let mut file = open()?;
    if file.metadata()?.len() > FILE {
        let mut before = path.as_os_str().to_owned();
        before.push(".1");
        std::fs::rename(path, before)?;
        file = open()?;
    }
    file.write_all(format!("{event}\n").as_bytes())
}

/// A request that is on record when it ends, in whatever way.
#[derive(Debug)]
pub(crate) struct Request {
    audit: Arc<Audit>,
    file: Option<PathBuf>,
    event: Value,
    begun: Instant,
    told: bool,
}

impl Request {
    /// `None`: such requests leave no trace.
    pub(crate) fn begin(
        context: &Context,
        form: Form,
        command: &str,
        value: &Value,
    ) -> Option<Self> {
        let target = target(form, command, value)?;
        Some(Self::new(context, "agent.request", command, target))
    }

    /// Puts one on record that the channel may not make.
    pub(crate) fn refused(context: &Context, command: &str, error: &CommandError) {
        if matches!(error.class(), Class::Disabled | Class::Denied) {
            Self::new(context, "agent.refused", command, String::new()).ended(Some(error));
        }
    }

    fn new(context: &Context, kind: &str, command: &str, target: String) -> Self {
        // Settings that are wrong are told of where `events` is asked for.
        let options: Options = context.options("events").unwrap_or_default();
        let event = json!({
            "time": jiff::Timestamp::now(), "kind": kind, "subject": format!("agent/{}", context.channel()),
            "data": { "peer": context.peer(), "command": command, "target": target },
        });
        let audit = context.state::<Audit>();
        Self { audit, file: options.file, event, begun: Instant::now(), told: false }
    }

    pub(crate) fn ended(mut self, error: Option<&CommandError>) {
        self.tell(error.map(|error| error.class()));
    }

    fn tell(&mut self, class: Option<Class>) {
        self.told = true;
        let data = &mut self.event["data"];
        data["ms"] = (self.begun.elapsed().as_millis() as u64).into();
        data["result"] =
            class.map_or("ok".to_owned(), |class| format!("{class:?}").to_lowercase()).into();
        self.audit.add(self.event.take(), self.file.as_deref());
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.told {
            // Who asked has gone, or gave it up.
            self.tell(Some(Class::Cancelled));
        }
    }
}

/// Puts on record that a program of a request has stood still so long, stopped by a signal; it is left as it is.
pub(crate) fn stopped(context: &Context, command: &str, pid: u32, time: Duration) {
    let seconds = time.as_secs();
    tracing::warn!(pid, seconds, "a program stands still: a signal stopped it");
    let mut request = Request::new(context, "agent.stopped", command, String::new());
    // It is no end of the request.
    request.told = true;
    request.event["data"] = json!({
        "peer": context.peer(), "command": command, "pid": pid, "seconds": seconds,
    });
    request.audit.add(request.event.take(), request.file.as_deref());
}

/// What a request is about; `None` when it only looks at what the machine shows anybody.
fn target(form: Form, command: &str, value: &Value) -> Option<String> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
    };
    let found = match (form, command) {
        (Form::Native, "exec") => masked(&words(&value["argv"])),
        (Form::Native, "exec-attach" | "exec-signal" | "exec-end" | "exec-remove") => text("id"),
        (Form::Native, "file-get" | "file-put" | "file-delete") => text("path"),
        (Form::Native, "shutdown") => text("mode"),
        (Form::Native, "time") if value["set_ns"].is_u64() => value["set_ns"].to_string(),
        (Form::Native, "vnf") => text("verb"),
        (Form::Guest, "guest-exec") => {
            let mut all = vec![text("path")];
            all.extend(words(&value["arg"]));
            masked(&all)
        }
        (Form::Guest, "guest-file-open") => format!("{} {}", text("path"), text("mode")),
        (Form::Guest, "guest-set-user-password") => text("username"),
        (Form::Guest, "guest-ssh-add-authorized-keys" | "guest-ssh-remove-authorized-keys") => {
            text("username")
        }
        (Form::Guest, "guest-shutdown") => text("mode"),
        (Form::Guest, name)
            if name.starts_with("guest-set-")
                || name.starts_with("guest-suspend-")
                || [
                    "guest-fsfreeze-freeze",
                    "guest-fsfreeze-freeze-list",
                    "guest-fsfreeze-thaw",
                ]
                .contains(&name) =>
        {
            String::new()
        }
        (
            Form::Openstack,
            "password" | "resetnetwork" | "injectfile" | "file_inject" | "agentupdate"
            | "kmsactivate",
        ) => String::new(),
        _ => return None,
    };
    let mut found = found.escape_debug().to_string();
    found.truncate(found.floor_char_boundary(TARGET));
    Some(found)
}

/// A command line without what looks like a secret: `--password=X`, `--token X`, `PASS=X`.
fn masked(words: &[String]) -> String {
    let secret = |name: &str| {
        let name = name.to_lowercase();
        ["pass", "secret", "token", "api-key", "api_key", "apikey", "credential", "auth"]
            .iter()
            .any(|word| name.contains(word))
    };
    let mut hide = false;
    let mut shown = Vec::with_capacity(words.len().min(64));
    for word in words.iter().take(64) {
        if std::mem::take(&mut hide) {
            shown.push("***".to_owned());
            continue;
        }
        match word.split_once('=') {
            Some((name, _)) if secret(name) => shown.push(format!("{name}=***")),
            None if word.starts_with('-') && secret(word) => {
                hide = true;
                shown.push(word.clone());
            }
            _ => shown.push(word.clone()),
        }
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_command_line_are_not_told() {
        let words = [
            "curl",
            "--password=a",
            "--token",
            "b",
            "API_TOKEN=c",
            "PASS=f",
            "API_KEY=g",
            "-x",
            "d=e\n",
        ];
        let argv: Vec<Value> = words.iter().map(|word| (*word).into()).collect();
        let told = target(Form::Native, "exec", &json!({ "argv": argv })).expect("it is told");
        assert_eq!(
            told,
            r"curl --password=*** --token *** API_TOKEN=*** PASS=*** API_KEY=*** -x d=e\n"
        );
        assert_eq!(target(Form::Native, "ping", &Value::Null), None);
        let long = json!({ "path": "ä".repeat(5000) });
        assert!(target(Form::Native, "file-get", &long).expect("it is told").len() <= TARGET);
    }

    #[tokio::test]
    async fn only_the_last_are_kept_and_whoever_waits_is_told() {
        let audit = Arc::new(Audit::default());
        let waiting = tokio::spawn({
            let audit = Arc::clone(&audit);
            async move { audit.beyond(0).await }
        });
        for _ in 0..KEPT + 10 {
            audit.add(json!({}), None);
        }
        waiting.await.expect("it returns");
        let (events, last) = audit.after(0);
        assert_eq!((events.len(), last), (KEPT, KEPT as u64 + 10));
        assert_eq!(audit.after(last - 1).0.len(), 1);
    }
}
