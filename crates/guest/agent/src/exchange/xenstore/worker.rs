//! The task that owns the connection.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use vnode_xenstore::{Backoff, Client, Errno, Error, Transaction};

use super::{
    KEEP, Message, POLL, STATE, Settings,
    journal::Journal,
    requests::{Content, Requests},
    responses::Responses,
};
use crate::parser::openstack::response;

/// The watch's token.
const TOKEN: &str = "vnode-agent";
/// How often a commit that met another change is tried again (R-X4).
const COMMITS: usize = 10;
/// How long an answer waits for a lost connection to come back.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the exchange wants of the task.
#[derive(Debug)]
pub(super) enum Order {
    /// The next request.
    Take(oneshot::Sender<Message>),
    /// Delivers an answer.
    Answer { id: String, body: Vec<u8>, done: oneshot::Sender<Result<(), Error>> },
}

#[derive(Debug)]
pub(super) struct Worker {
    settings: Settings,
    host: String,
    guest: String,
    orders: mpsc::Receiver<Order>,
    taker: Option<oneshot::Sender<Message>>,
    requests: Requests,
    responses: Responses,
    journal: Journal,
    /// The domain's number, as long as it can be read: it changes when the guest is resumed or moved (R-X10).
    domain: Option<Vec<u8>>,
}

impl Worker {
    pub(super) fn new(settings: Settings, orders: mpsc::Receiver<Order>) -> Self {
        let state = settings.state.clone().unwrap_or_else(|| STATE.into());
        let channel = settings.base.clone().unwrap_or_else(|| "home".to_owned());
        let keep = settings.keep.unwrap_or(KEEP);
        Self {
            host: settings.node("data/host"),
            guest: settings.node("data/guest"),
            orders,
            taker: None,
            requests: Requests::default(),
            responses: Responses::new((!keep.is_zero()).then_some(keep)),
            journal: Journal::open(&state, &channel),
            domain: None,
            settings,
        }
    }

    /// Serves until the exchange is dropped.
    pub(super) async fn run(mut self, client: Client) {
        let mut connected = Some(client);
        let mut backoff = Backoff::new();
        let mut lost: Option<Instant> = None;
        let mut unanswered: Option<(Order, Instant)> = None;
        loop {
            let client = match connected.take() {
                Some(client) => Ok(client),
                None => self.connect().await,
            };
            let error = match client {
                Ok(mut client) => {
                    let served = self.serve(&mut client, &mut backoff, &mut lost, &mut unanswered);
                    match served.await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if lost.is_none() {
                tracing::warn!(error = &error as &dyn std::error::Error, "XenStore is lost");
                lost = Some(Instant::now());
            }
            if let Some((Order::Answer { .. }, since)) = &unanswered
                && since.elapsed() > PATIENCE
                && let Some((Order::Answer { done, .. }, _)) = unanswered.take()
            {
                // The channel may have given up; then nobody is there to be told.
                let _ = done.send(Err(error));
            }
            tokio::time::sleep(backoff.step()).await;
        }
    }

    async fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.settings.access()?).await
    }

    /// Serves one connection. `Ok` when the exchange is gone, `Err` when the connection is.
    async fn serve(
        &mut self,
        client: &mut Client,
        backoff: &mut Backoff,
        lost: &mut Option<Instant>,
        unanswered: &mut Option<(Order, Instant)>,
    ) -> Result<(), Error> {
        self.set_up(client).await?;
        backoff.reset();
        if let Some(since) = lost.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "XenStore is back");
        }
        if let Some((order, _)) = unanswered.as_ref()
            && let Order::Answer { id, body, .. } = order
        {
            let result = self.deliver(client, id, body).await;
            if result.as_ref().is_err_and(Error::is_broken) {
                return result;
            }
            if let Some((Order::Answer { id, body, done }, _)) = unanswered.take() {
                self.delivered(&id, &body, result, done);
            }
        }
        let poll = self.settings.poll.unwrap_or(POLL);
        let mut next_poll = Instant::now() + poll;
        self.look(client).await?;
        loop {
            self.give(client).await?;
            let collect = self.responses.next_end();
            tokio::select! {
                order = self.orders.recv() => match order {
                    None => return Ok(()),
                    Some(Order::Take(taker)) => self.taker = Some(taker),
                    Some(Order::Answer { id, body, done }) => {
                        let result = self.answer(client, &id, &body).await;
                        if result.as_ref().is_err_and(Error::is_broken) {
                            *unanswered = Some((Order::Answer { id, body, done }, Instant::now()));
                            return result;
                        }
                        self.delivered(&id, &body, result, done);
                    }
                },
                event = client.next_event() => {
                    let event = event?;
                    // Our own removing tells too; what is gone need not be looked for.
                    tracing::trace!(path = event.path, "changed");
                    self.look(client).await?;
                }
                () = tokio::time::sleep_until(next_poll) => {
                    next_poll = Instant::now() + poll;
                    if self.has_moved(client).await? {
                        return Err(Error::Closed);
                    }
                    self.look(client).await?;
                }
                () = until(collect) => self.collect(client, 0).await?,
            }
        }
    }

    /// The folder, the watch, what an earlier run left.
    async fn set_up(&mut self, client: &mut Client) -> Result<(), Error> {
        // The host may have made it, or we may not; neither keeps us from looking.
        tolerate(client.mkdir(Transaction::NONE, &self.host).await)?;
        client.watch(&self.host, TOKEN).await?;
        let domain = self.settings.node("domid");
        self.domain = tolerate(client.read(Transaction::NONE, &domain).await)?;
        // Names only: what the answers say is nobody's business here (R-X11).
        if let Some(ids) = tolerate(client.list(Transaction::NONE, &self.guest).await)? {
            self.responses.found(ids, Instant::now());
        }
        Ok(())
    }

    async fn has_moved(&mut self, client: &mut Client) -> Result<bool, Error> {
        let path = self.settings.node("domid");
        let now = tolerate(client.read(Transaction::NONE, &path).await)?;
        let moved = now != self.domain;
        if moved {
            tracing::info!("the domain has another number: connecting anew");
        }
        Ok(moved)
    }

    /// Lists the requests.
    async fn look(&mut self, client: &mut Client) -> Result<(), Error> {
        match client.list(Transaction::NONE, &self.host).await {
            Ok(ids) => {
                self.requests.list(ids);
                Ok(())
            }
            Err(error) if error.errno() == Some(Errno::NoEntry) => {
                self.requests.list(Vec::new());
                tolerate(client.mkdir(Transaction::NONE, &self.host).await).map(drop)
            }
            Err(error) if !error.is_broken() => {
                tracing::debug!(%error, "the requests cannot be listed");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the next request to who waits for one.
    async fn give(&mut self, client: &mut Client) -> Result<(), Error> {
        while self.taker.as_ref().is_some_and(|taker| !taker.is_closed()) {
            let Some(id) = self.requests.next() else { return Ok(()) };
            // Read only now: a request that its client took back is not there any more (R-X4).
            let path = format!("{}/{id}", self.host);
            let body = match client.read(Transaction::NONE, &path).await {
                Ok(body) => Some(body),
                Err(error) if error.errno() == Some(Errno::NoEntry) => {
                    self.requests.forget(&id);
                    continue;
                }
                Err(error) if !error.is_broken() => None,
                Err(error) => return Err(error),
            };
            let content = Content::of(body.as_deref().unwrap_or_default());
            if let Some(answer) = self.requests.executed(&id, content) {
                let answer = answer.map_or_else(
                    || response("500", "This request was executed before", usize::MAX).into_bytes(),
                    <[u8]>::to_vec,
                );
                tracing::info!(id, "executed before: answered again");
                self.requests.begin(&id, content);
                self.settle(client, &id, &answer).await?;
                continue;
            }
            if self.journal.was_begun(&id, content) {
                tracing::warn!(id, "begun before the agent was started again: not repeated");
                let message = "The agent was restarted while it executed this request";
                let answer = response("500", message, usize::MAX).into_bytes();
                self.requests.begin(&id, content);
                self.settle(client, &id, &answer).await?;
                continue;
            }
            self.requests.begin(&id, content);
            self.journal.note(self.requests.running());
            let Some(taker) = self.taker.take() else { return Ok(()) };
            if taker.send(Message { id: id.clone(), body }).is_err() {
                // The exchange is being dropped; nothing was executed.
                self.requests.end(&id, b"");
                self.journal.note(self.requests.running());
            }
        }
        Ok(())
    }

    /// Answers what is not executed.
    async fn settle(&mut self, client: &mut Client, id: &str, body: &[u8]) -> Result<(), Error> {
        match self.answer(client, id, body).await {
            Err(error) if error.is_broken() => return Err(error),
            Err(error) => tracing::warn!(id, %error, "an answer cannot be written"),
            Ok(()) => {}
        }
        self.ended(id, body);
        Ok(())
    }

    fn delivered(
        &mut self,
        id: &str,
        body: &[u8],
        result: Result<(), Error>,
        done: oneshot::Sender<Result<(), Error>>,
    ) {
        self.ended(id, body);
        // The channel may have given up; then nobody is there to be told.
        let _ = done.send(result);
    }

    fn ended(&mut self, id: &str, body: &[u8]) {
        self.requests.end(id, body);
        self.journal.settle(id);
        self.journal.note(self.requests.running());
    }

    async fn answer(&mut self, client: &mut Client, id: &str, body: &[u8]) -> Result<(), Error> {
        self.collect(client, 1).await?;
        self.deliver(client, id, body).await
    }

    /// Writes the answer and removes the request: in one transaction, or one after the other when that does not work.
    async fn deliver(&mut self, client: &mut Client, id: &str, body: &[u8]) -> Result<(), Error> {
        let (request, answer) = (format!("{}/{id}", self.host), format!("{}/{id}", self.guest));
        self.responses.written(id, Instant::now());
        for _ in 0..COMMITS {
            match exchange(client, &request, &answer, body).await {
                Ok(()) => return Ok(()),
                Err(error) if error.errno() == Some(Errno::Again) => {}
                Err(error) if !error.is_broken() => {
                    tracing::debug!(id, %error, "no transaction for the answer");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let mut written = client.write(Transaction::NONE, &answer, body).await;
        while written.as_ref().is_err_and(|error| error.errno() == Some(Errno::NoSpace)) {
            let mut old = self.responses.take_half();
            old.retain(|other| other != id);
            if old.is_empty() {
                break;
            }
            self.remove(client, old).await?;
            written = client.write(Transaction::NONE, &answer, body).await;
        }
        self.responses.written(id, Instant::now());
        // The answer is never lost because the removal failed, and a request never stays because the answer did.
        tolerate(client.rm(Transaction::NONE, &request).await)?;
        written
    }

    /// Removes answers that are too old, and the oldest when there are too many for `more` new ones.
    async fn collect(&mut self, client: &mut Client, more: usize) -> Result<(), Error> {
        let surplus = self.responses.take_surplus(more, Instant::now());
        self.remove(client, surplus).await
    }

    async fn remove(&mut self, client: &mut Client, ids: Vec<String>) -> Result<(), Error> {
        for id in ids {
            // Its reader may have removed it.
            tolerate(client.rm(Transaction::NONE, &format!("{}/{id}", self.guest)).await)?;
        }
        Ok(())
    }
}

async fn exchange(
    client: &mut Client,
    request: &str,
    answer: &str,
    body: &[u8],
) -> Result<(), Error> {
    let transaction = client.start().await?;
    let mut done = client.write(transaction, answer, body).await;
    if done.is_ok() {
        done = match client.rm(transaction, request).await {
            // The host took the request back, and all above it: what was to be reached.
            Err(error) if error.errno() == Some(Errno::NoEntry) => Ok(()),
            other => other,
        };
    }
    match done {
        Ok(()) => client.commit(transaction).await,
        Err(error) if error.is_broken() => Err(error),
        Err(error) => {
            tolerate(client.abort(transaction).await)?;
            Err(error)
        }
    }
}

/// What the daemon refuses is as if it were not there; a broken connection stays an error.
fn tolerate<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_broken() => Err(error),
        Err(error) => {
            tracing::debug!(%error, "refused");
            Ok(None)
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
