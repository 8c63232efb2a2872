//! From bytes to a command, from a result to bytes: the languages the agent speaks.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{
    command::{CommandSet, Form},
    context::Context,
    exchange::Connection,
    limits::{Budget, Limits},
};

mod line;
pub mod native;
pub mod openstack;
mod plugin;
pub mod qga;

pub use line::LineParser;
pub use plugin::ParserPlugin;

/// What a parser works with: one connection's, or one message channel's.
#[derive(Debug, Clone)]
pub struct Session {
    /// For this channel; a request takes [`Context::for_request`] of it, which [`CommandSet::call`] does.
    pub context: Context,
    pub commands: Arc<CommandSet>,
    pub limits: Limits,
    pub budget: Budget,
}

impl Session {
    /// The same for one connection, which is cancelled by itself.
    #[must_use]
    pub fn for_connection(&self) -> Self {
        let context = self.context.for_request(self.context.cancel());
        Self { context, ..self.clone() }
    }

    /// Calls a command for this channel.
    pub async fn call(&self, name: &str, value: serde_json::Value) -> crate::command::Called {
        self.commands.call(&self.context, name, value).await
    }
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParserError {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    #[error("the client breaks the protocol: {0}")]
    Protocol(String),
    #[error("the client does not read its answers")]
    Stalled,
}

/// Owns a connection's protocol.
pub trait StreamParser: Send + Sync + fmt::Debug {
    /// Whose commands it calls.
    fn form(&self) -> Form;

    /// Serves the connection to its end: `Ok` when the peer has gone. Dropped when the agent stops.
    fn serve<'a>(
        &'a self,
        connection: Connection,
        session: Session,
    ) -> BoxFuture<'a, Result<(), ParserError>>;
}

/// What a message parser answers.
#[derive(Default)]
pub struct Answer {
    pub body: Vec<u8>,
    /// To be done once the body is delivered.
    pub after: Vec<crate::context::After>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the body: it may hold what nobody shall read.
        f.debug_struct("Answer").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Answers one body with one body.
pub trait MessageParser: Send + Sync + fmt::Debug {
    /// Whose commands it calls.
    fn form(&self) -> Form;

    /// Answers a request, whatever it is: there is always an answer (R-X6). At most `answer_bytes` long.
    fn handle<'a>(
        &'a self,
        body: Option<&'a [u8]>,
        answer_bytes: usize,
        session: &'a Session,
    ) -> BoxFuture<'a, Answer>;
}

/// Both kinds. A message parser serves a stream too, line by line.
#[derive(Debug, Clone)]
pub enum Parser {
    Stream(Arc<dyn StreamParser>),
    Message(Arc<dyn MessageParser>),
}
