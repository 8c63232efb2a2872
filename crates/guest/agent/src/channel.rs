//! A channel: an exchange paired with a parser and a policy, supervised on its own (R-D5).
//!
//! What breaks is opened again, later each time; what cannot work at all is said once and left.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{task::JoinSet, time::sleep};
use vnode_action::CancellationToken;
use vnode_idle::{Busy, BusyGuard};
use vnode_protocol::chain;

use crate::{
    exchange::{Connection, Exchange, ExchangeError, Message, MessageExchange, StreamExchange},
    parser::{Answer, LineParser, MessageParser, Parser, Session, StreamParser},
};

/// Waits between two openings: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Requests of a message exchange that are worked on at a time.
const AT_A_TIME: usize = 16;

/// One channel, ready to run.
#[derive(Debug)]
pub struct Channel {
    pub exchange: Exchange,
    pub parser: Parser,
    pub session: Session,
}

impl Channel {
    /// Serves until `stop`, or until the exchange says that it cannot work.
    pub async fn run(self, stop: CancellationToken) {
        let name = self.session.context.channel().to_owned();
        let serving = async {
            match self.exchange {
                Exchange::Stream(exchange) => {
                    let parser = match self.parser {
                        Parser::Stream(parser) => parser,
                        Parser::Message(parser) => Arc::new(LineParser(parser)),
                    };
                    serve_stream(exchange, &parser, &self.session).await
                }
                Exchange::Message(exchange) => match self.parser {
                    Parser::Message(parser) => {
                        serve_messages(exchange, parser.as_ref(), &self.session).await
                    }
                    Parser::Stream(_) => ExchangeError::Config {
                        exchange: exchange.name(),
                        reason: "it carries single messages, and the parser wants a stream"
                            .to_owned(),
                    },
                },
            }
        };
        tokio::select! {
            error = serving => match error {
                ExchangeError::Ended { .. } => tracing::info!(channel = name, "ended"),
                error => tracing::error!(channel = name, error = chain(&error), "given up"),
            },
            () = stop.cancelled() => {}
        }
    }
}

/// When to try again, and what was said about it.
#[derive(Debug)]
struct BackOff {
    wait: Duration,
    told: bool,
}

impl BackOff {
    fn new() -> Self {
        Self { wait: BACK_OFF.0, told: false }
    }

    /// Loss is told once.
    async fn failed(&mut self, channel: &str, error: &ExchangeError) {
        if self.told {
            tracing::debug!(channel, error = chain(error), "not open yet");
        } else {
            self.told = true;
            tracing::warn!(channel, error = chain(error), "lost; it is opened again");
        }
        sleep(self.wait).await;
        self.wait = (self.wait * 2).min(BACK_OFF.1);
    }

    /// Recovery is told once.
    fn works(&mut self, channel: &str) {
        if self.told {
            tracing::info!(channel, "recovered");
        }
        *self = Self::new();
    }
}

/// Returns only when the exchange cannot work.
async fn serve_stream(
    mut exchange: Box<dyn StreamExchange>,
    parser: &Arc<dyn StreamParser>,
    session: &Session,
) -> ExchangeError {
    let channel = session.context.channel();
    let mut back_off = BackOff::new();
    let mut connections = JoinSet::new();
    loop {
        match exchange.open().await {
            Ok(()) => tracing::debug!(channel, exchange = exchange.name(), "open"),
            Err(error @ ExchangeError::Config { .. }) => return error,
            Err(error) => {
                back_off.failed(channel, &error).await;
                continue;
            }
        }
        let error = loop {
            let most = if exchange.one_at_a_time() { 1 } else { session.limits.connections };
            while connections.len() >= most {
                connections.join_next().await;
            }
            let accepted = tokio::select! {
                accepted = exchange.accept() => accepted,
                // Takes ended ones away, so that their memory goes while nobody comes.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok(connection) => {
                    back_off.works(channel);
                    connections.spawn(serve_one(
                        connection,
                        Arc::clone(parser),
                        session.for_connection(),
                    ));
                }
                Err(error) => break error,
            }
        };
        if matches!(error, ExchangeError::Config { .. } | ExchangeError::Ended { .. }) {
            return error;
        }
        if exchange.one_at_a_time() {
            // A line that has ended is opened again at once when it had worked.
            tracing::debug!(channel, error = chain(&error), "the connection is over");
        }
        back_off.failed(channel, &error).await;
    }
}

async fn serve_one(connection: Connection, parser: Arc<dyn StreamParser>, session: Session) {
    let channel = session.context.channel().to_owned();
    tracing::debug!(channel, peer = ?connection.peer, "connected");
    let context = session.context.for_peer(&connection.peer.to_string());
    let session = Session { context: context.clone(), ..session };
    match parser.serve(connection, session).await {
        Ok(()) => tracing::debug!(channel, "the peer has gone"),
        Err(error) => tracing::info!(channel, error = chain(&error), "connection given up"),
    }
    // Whatever the connection left running has nobody to answer.
    context.cancel().cancel();
}

/// A request's id, and its answer.
type Worked = (String, Answer, BusyGuard);

/// Returns only when the exchange cannot work.
async fn serve_messages(
    mut exchange: Box<dyn MessageExchange>,
    parser: &dyn MessageParser,
    session: &Session,
) -> ExchangeError {
    let channel = session.context.channel();
    let mut back_off = BackOff::new();
    let busy = session.context.state::<Busy>();
    let mut working: FuturesUnordered<BoxFuture<'_, Worked>> = FuturesUnordered::new();
    // An answer that could not be delivered, to be tried once more.
    let mut kept: Option<Worked> = None;
    loop {
        match exchange.open().await {
            Ok(()) => back_off.works(channel),
            Err(error @ ExchangeError::Config { .. }) => return error,
            Err(error) => {
                back_off.failed(channel, &error).await;
                continue;
            }
        }
        if let Some((id, answer, guard)) = kept.take() {
            match exchange.answer(&id, &answer.body).await {
                Ok(()) => {}
                Err(error) => tracing::error!(channel, error = chain(&error), "an answer is lost"),
            }
            finish(answer, guard).await;
        }
        let error = loop {
            let room = working.len() < AT_A_TIME;
            tokio::select! {
                Some((id, answer, guard)) = working.next() => {
                    if let Err(error) = exchange.answer(&id, &answer.body).await {
                        kept = Some((id, answer, guard));
                        break error;
                    }
                    finish(answer, guard).await;
                }
                next = exchange.next(), if room => match next {
                    Ok(Message { id, body }) => {
                        let (bytes, guard) = (exchange.answer_bytes(), busy.enter());
                        let session = session.for_connection();
                        working.push(
                            async move {
                                let answer = parser.handle(body.as_deref(), bytes, &session).await;
                                (id, answer, guard)
                            }
                            .boxed(),
                        );
                    }
                    Err(error) => break error,
                },
            }
        };
        if matches!(error, ExchangeError::Config { .. } | ExchangeError::Ended { .. }) {
            return error;
        }
        back_off.failed(channel, &error).await;
    }
}

async fn finish(answer: Answer, guard: BusyGuard) {
    for work in answer.after {
        work.await;
    }
    drop(guard);
}
