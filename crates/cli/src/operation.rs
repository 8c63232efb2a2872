//! Following long work to its end, and cancelling it when the user wants to stop.

use std::sync::{Mutex, PoisonError};

use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vnode_api::message::Ended;
use vnode_api::{Code, Problem};
use vnode_operation::Summary;

use crate::client::{Client, segment};
use crate::output::progress::Progress;
use crate::{Context, Result};

/// Follows an operation. The first Ctrl-C (SIGINT, SIGTERM, SIGHUP) cancels it and waits until it has
/// undone what it did; the second leaves it to the daemon.
pub(crate) async fn follow(mut client: Client, id: &str, context: &Context) -> Result {
    let path = format!("/v1/operations/{}/follow", segment(id));
    let mut messages = client.events(&path).await?;
    let mut progress = Progress::new(&context.output);
    let mut stop = Stop::taken()?;
    let mut cancelled = false;
    loop {
        let message = tokio::select! {
            message = messages.next() => message?,
            () = stop.asked() => {
                if cancelled {
                    return Err(left_alone(id));
                }
                cancelled = true;
                progress.say("cancelling; again leaves it to the daemon");
                cancel(id, context).await?;
                continue;
            }
        };
        let Some(message) = message else {
            return Err(Problem::new(Code::Unavailable, "the daemon stopped before the end")
                .hint(format!("the next one goes on or undoes it: `vnode op show {id}`")));
        };
        match message.event.as_str() {
            "progress" => progress.show(&read::<Summary>(&message.data)?),
            "problem" => return Err(read(&message.data)?),
            "ended" => {
                let ended: Ended = read(&message.data)?;
                progress.end(&ended);
                return finish(ended, context);
            }
            _ => {}
        }
    }
}

/// Cancels over a connection of its own: the other one carries the messages.
pub(crate) async fn cancel(id: &str, context: &Context) -> Result<()> {
    let mut client = context.client().await?;
    let path = format!("/v1/operations/{}/cancel", segment(id));
    match client.done(Method::POST, &path).await {
        // It ended between the key and here.
        Err(problem) if problem.code == Code::Conflict => Ok(()),
        other => other,
    }
}

fn finish(ended: Ended, context: &Context) -> Result {
    let Some(problem) = ended.problem.clone() else {
        if context.output.json {
            context.output.json(&ended)?;
        }
        return Ok(0);
    };
    if context.output.json {
        // One document: the operation, with its problem inside.
        context.output.json(&ended)?;
        return Ok(problem.code.exit_code());
    }
    Err(problem)
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Problem::from_error(Code::Failed, &error).in_front("cannot read the daemon's message")
    })
}

fn left_alone(id: &str) -> Problem {
    Problem::new(Code::Cancelled, format!("operation `{id}` is left to the daemon"))
        .hint(format!("`vnode op show {id}` tells how it ends"))
}

/// Listeners that were made before the work was asked for.
static EARLY: Mutex<Option<Stop>> = Mutex::new(None);

/// The signals with which a user or a supervisor asks us to stop.
pub(crate) struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Problem::from_error(Code::Failed, &error));
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    /// Listens from now on for the [`follow`] to come: between the request and the first message a signal would end this
    /// program, and leave the work to go on.
    pub(crate) fn early() -> Result<()> {
        let stop = Self::new()?;
        *EARLY.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        Ok(())
    }

    fn taken() -> Result<Self> {
        match EARLY.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(early) => Ok(early),
            None => Self::new(),
        }
    }

    /// Waits for one of them.
    pub(crate) async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
