//! The XenStore exchange: requests are nodes below `data/host`, answers nodes below `data/guest`.
//!
//! The host writes `data/host/<id>`, the agent runs it, writes `data/guest/<id>` and removes the request; the host
//! takes the *absence* of the answer for "not ready", so an answer appears whole and at once.
//!
//! A task owns the connection ([`worker`]): requests of XenStore must not be dropped half-way, as the calls of a
//! channel are. It reconnects by itself, since what was executed and answered has to be known across connections.

use std::{io, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use vnode_xenstore::{Access, Client, Error};

use super::{ExchangeError, Message, MessageExchange};

mod journal;
mod publish;
mod requests;
mod responses;
mod worker;

use worker::{Order, Worker};

/// The slow poll beside the watch.
const POLL: Duration = Duration::from_secs(5);
/// How long an answer is kept for its reader: longer than any known client waits (300 s).
const KEEP: Duration = Duration::from_secs(15 * 60);
/// Largest answer, bytes: a node of an unprivileged domain has to stay below 2048 with its header.
const ANSWER_BYTES: usize = 1999;
/// Where what was begun is noted until the machine goes down.
const STATE: &str = "/run/vnode-agent/xenstore";

/// The keys of a `[[channel]]` with `exchange = "xenstore"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The daemon's socket or the kernel's device; `None`: whichever is there.
    pub path: Option<PathBuf>,
    /// What paths are relative to, instead of the guest's home (R-X1).
    pub base: Option<String>,
    /// The slow poll beside the watch (R-X2); `None`: its default, 5 s.
    pub poll: Option<Duration>,
    /// How long answers are kept; `None`: 15 minutes. Zero keeps them for ever (R-X8).
    pub keep: Option<Duration>,
    /// The folder for what was begun, so that an agent that is started again does not do it twice; `None`:
    /// `/run/vnode-agent/xenstore`.
    pub state: Option<PathBuf>,
    /// Publishes facts about the guest, for XAPI-based tool stacks (R-X13).
    pub publish: bool,
    /// Where those facts are read; `None`: `/`.
    pub root: Option<PathBuf>,
}

impl Settings {
    /// A path of the layout below the base.
    fn node(&self, path: &str) -> String {
        match &self.base {
            Some(base) => format!("{}/{path}", base.trim_end_matches('/')),
            None => path.to_owned(),
        }
    }

    fn access(&self) -> Result<Access, Error> {
        match &self.path {
            Some(path) => Ok(Access::at(path)),
            None => Access::from_environment(),
        }
    }
}

/// The exchange. `Some` always: whether there is a XenStore shows when it is opened.
pub fn exchange(settings: &Settings) -> Option<Box<dyn MessageExchange>> {
    Some(Box::new(Xenstore { settings: settings.clone(), running: None, taking: None }))
}

#[derive(Debug)]
struct Xenstore {
    settings: Settings,
    running: Option<Running>,
    /// A request that was asked for; kept here when a call of `next` is dropped.
    taking: Option<oneshot::Receiver<Message>>,
}

/// The task, and the way to it.
#[derive(Debug)]
struct Running {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
    publisher: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(publisher) = &self.publisher {
            publisher.abort();
        }
    }
}

impl Xenstore {
    fn failed(&self, error: Error) -> ExchangeError {
        ExchangeError::Broken {
            exchange: self.name(),
            reason: "cannot speak with XenStore".to_owned(),
            source: Some(Box::new(error)),
        }
    }

    fn ended(&self, action: &'static str) -> ExchangeError {
        ExchangeError::Io {
            exchange: self.name(),
            action,
            source: io::Error::other("the exchange was not opened, or its task has ended"),
        }
    }

    async fn start(&mut self) -> Result<(), ExchangeError> {
        if self.running.as_ref().is_some_and(|running| !running.task.is_finished()) {
            // It connects again by itself.
            return Ok(());
        }
        let access = self.settings.access().map_err(|error| self.failed(error))?;
        let client = Client::connect(&access).await.map_err(|error| self.failed(error))?;
        // One order waits for its request, the others are answers: as many as commands run at a time.
        let (orders, receiver) = mpsc::channel(16);
        let worker = Worker::new(self.settings.clone(), receiver);
        self.taking = None;
        let publisher =
            self.settings.publish.then(|| tokio::spawn(publish::run(self.settings.clone())));
        let task = tokio::spawn(worker.run(client));
        self.running = Some(Running { orders, task, publisher });
        Ok(())
    }

    async fn take(&mut self) -> Result<Message, ExchangeError> {
        loop {
            let taking = match self.taking.as_mut() {
                Some(taking) => taking,
                None => {
                    let Some(running) = &self.running else {
                        return Err(self.ended("wait for a request"));
                    };
                    // A permit first: nothing is lost when this call is dropped while it waits.
                    let Ok(permit) = running.orders.reserve().await else {
                        return Err(self.ended("wait for a request"));
                    };
                    let (give, taking) = oneshot::channel();
                    permit.send(Order::Take(give));
                    self.taking.insert(taking)
                }
            };
            let taken = taking.await;
            self.taking = None;
            match taken {
                Ok(message) => return Ok(message),
                Err(_) if self.running.as_ref().is_some_and(|r| !r.task.is_finished()) => {}
                Err(_) => return Err(self.ended("wait for a request")),
            }
        }
    }
}

impl MessageExchange for Xenstore {
    fn name(&self) -> String {
        match &self.settings.path {
            Some(path) => format!("xenstore:{}", path.display()),
            None => "xenstore".to_owned(),
        }
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(self.start())
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Message, ExchangeError>> {
        Box::pin(self.take())
    }

    fn answer<'a>(
        &'a mut self,
        id: &'a str,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ExchangeError>> {
        Box::pin(async move {
            let Some(running) = &self.running else { return Err(self.ended("answer")) };
            let (done, wait) = oneshot::channel();
            let order = Order::Answer { id: id.to_owned(), body: body.to_vec(), done };
            running.orders.send(order).await.map_err(|_| self.ended("answer"))?;
            match wait.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(self.failed(error)),
                Err(_) => Err(self.ended("answer")),
            }
        })
    }

    fn answer_bytes(&self) -> usize {
        ANSWER_BYTES
    }
}
