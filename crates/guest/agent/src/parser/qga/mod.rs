//! The QEMU guest agent's form: objects one after the other, one line of answer for each.
//!
//! [`frame`] finds the messages, [`json`] reads them, [`write`] writes answers as QEMU does. Texts of errors are
//! QEMU's where clients or its own tests compare them (R-Q1).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ParserError, Session, StreamParser};
use crate::{
    command::{
        Class, CommandError, Form,
        guest::{base64, bulk},
    },
    context::After,
    exchange::{Connection, Io},
};

pub mod frame;
pub mod json;
pub mod write;

use frame::{Event, Framer};

/// Deepest nesting, as QEMU has it.
const MOST_DEPTH: usize = 1024;
/// Twice the limit of requests, but no more than this: read, parsed and decoded it is in memory three times.
const MOST_BYTES: usize = 4 << 20;
/// Longest text of an error, bytes.
const MOST_TEXT: usize = 64 << 10;
/// Bytes read at a time.
const READ: usize = 16 << 10;
/// A partial request above this reserves memory of the budget all channels share.
const FREE_OF_CHARGE: usize = 64 << 10;
/// Answers' buffers larger than this are given back.
const KEPT: usize = 64 << 10;

/// Serves QEMU's guest agent form.
#[derive(Debug, Clone, Copy, Default)]
pub struct QgaParser;

/// The parser.
pub fn parser() -> Option<Arc<dyn StreamParser>> {
    Some(Arc::new(QgaParser))
}

impl StreamParser for QgaParser {
    fn form(&self) -> Form {
        Form::Guest
    }

    fn serve<'a>(
        &'a self,
        connection: Connection,
        session: Session,
    ) -> BoxFuture<'a, Result<(), ParserError>> {
        Box::pin(serve(connection, session))
    }
}

async fn serve(connection: Connection, session: Session) -> Result<(), ParserError> {
    // Most of a large request is base64: a third more than the bytes that are meant, and the envelope.
    let limit = session.limits.request_bytes;
    let most_bytes = limit.saturating_mul(2).min(MOST_BYTES).max(limit);
    let mut framer = Framer::new(most_bytes, MOST_DEPTH);
    let mut client = Client { stream: connection.stream, stall: session.limits.stall };
    let mut buffer = vec![0; READ];
    let mut out = Vec::new();
    let mut reserved = None;
    loop {
        let count = if reserved.is_some() {
            // Who holds memory and sends no more must not keep it from others.
            let read = client.stream.read(&mut buffer);
            tokio::time::timeout(client.stall, read).await.map_err(|_| ParserError::Stalled)??
        } else {
            client.stream.read(&mut buffer).await?
        };
        if count == 0 {
            return Ok(());
        }
        let mut input = &buffer[..count];
        while let Some(event) = framer.next(&mut input) {
            answer(&mut client, &session, event, framer.text(), &mut out).await?;
            reserved = None;
        }
        if reserved.is_none() && framer.text().len() > FREE_OF_CHARGE {
            reserved = Some(session.budget.reserve(most_bytes).await);
        }
    }
}

/// The writing side, which cuts who does not read.
struct Client {
    stream: Box<dyn Io>,
    stall: Duration,
}

impl Client {
    async fn write(&mut self, out: &mut Vec<u8>) -> Result<(), ParserError> {
        let write = self.stream.write_all(out);
        let result = tokio::time::timeout(self.stall, write).await;
        out.clear();
        out.shrink_to(KEPT);
        Ok(result.map_err(|_| ParserError::Stalled)??)
    }
}

/// Answers one message; does what is to be done afterwards, also when the client is gone.
async fn answer(
    client: &mut Client,
    session: &Session,
    event: Event,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ParserError> {
    let mut after = Vec::new();
    let request = match event {
        Event::Error(reason) => Err((reason, None)),
        Event::Message => json::parse(text, session.limits.values)
            .map_err(|reason| (reason, None))
            .and_then(Request::read),
    };
    let written = match request {
        Err((reason, id)) => {
            error(out, "GenericError", &reason, id.as_ref());
            client.write(out).await
        }
        Ok(request) => run(client, session, request, out, &mut after).await,
    };
    for work in after {
        work.await;
    }
    written
}

/// A request taken apart.
struct Request {
    name: String,
    arguments: Value,
    id: Option<Value>,
}

impl Request {
    fn read(message: Value) -> Result<Self, (String, Option<Value>)> {
        let Value::Object(mut members) = message else {
            return Err(("QMP input must be a JSON object".to_owned(), None));
        };
        let id = members.remove("id");
        // Written, it may be six times as long as it came.
        if id.as_ref().is_some_and(|id| write::length(id) > MOST_BYTES) {
            return Err(("the id is too long to be given back".to_owned(), None));
        }
        match Self::checked(members) {
            Ok((name, arguments)) => Ok(Self { name, arguments, id }),
            Err(reason) => Err((reason, id)),
        }
    }

    fn checked(mut members: Map<String, Value>) -> Result<(String, Value), String> {
        let name = match members.remove("execute") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err("QMP input member 'execute' must be a string".to_owned()),
        };
        let arguments = match members.remove("arguments") {
            None => Value::Object(Map::new()),
            Some(arguments @ Value::Object(_)) => arguments,
            Some(_) => return Err("QMP input member 'arguments' must be an object".to_owned()),
        };
        if let Some(other) = members.keys().next() {
            return Err(format!("QMP input member '{other}' is unexpected"));
        }
        let name = name.ok_or("QMP input lacks member 'execute'")?;
        Ok((name, arguments))
    }
}

async fn run(
    client: &mut Client,
    session: &Session,
    request: Request,
    out: &mut Vec<u8>,
    after: &mut Vec<After>,
) -> Result<(), ParserError> {
    let Request { name, mut arguments, id } = request;
    if bulk::may_be(&name)
        && session.commands.get(&name).is_some_and(|(_, enabled)| enabled)
        && session.commands.enabled_now(&name, &session.context)
    {
        match bulk::start(&session.context, &name, arguments) {
            Ok(Ok(large)) => return stream(client, large, id.as_ref(), out).await,
            Ok(Err(failure)) => {
                failed(out, &name, &failure, id.as_ref());
                return client.write(out).await;
            }
            Err(given_back) => arguments = given_back,
        }
    }
    let called = session.call(&name, arguments).await;
    // A stop waits until the answer is out.
    let _busy = called.busy;
    *after = called.after;
    match called.result {
        Err(failure) => failed(out, &name, &failure, id.as_ref()),
        Ok(_) if !called.answers_success => return Ok(()),
        Ok(value) => {
            if name == "guest-sync-delimited" {
                out.push(0xFF);
            }
            out.extend_from_slice(b"{\"return\": ");
            write::value(out, &value);
            finish(out, id.as_ref());
        }
    }
    client.write(out).await
}

/// Closes an answer that was begun with `{"return": ...`.
fn finish(out: &mut Vec<u8>, id: Option<&Value>) {
    if let Some(id) = id {
        out.extend_from_slice(b", \"id\": ");
        write::value(out, id);
    }
    out.extend_from_slice(b"}\n");
}

/// Writes an answer piece by piece, so that it needs no memory to speak of.
async fn stream(
    client: &mut Client,
    large: bulk::Answer,
    id: Option<&Value>,
    out: &mut Vec<u8>,
) -> Result<(), ParserError> {
    out.extend_from_slice(b"{\"return\": {");
    for (index, (name, member)) in large.members.into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write::string(out, name);
        out.extend_from_slice(b": ");
        match member {
            bulk::Member::Plain(value) => write::value(out, &value),
            bulk::Member::Bytes(mut source) => {
                out.push(b'"');
                loop {
                    let piece = source.next();
                    if piece.is_empty() {
                        break;
                    }
                    base64::encode_into(out, &piece);
                    client.write(out).await?;
                }
                out.push(b'"');
                for (name, value) in source.rest() {
                    out.extend_from_slice(b", ");
                    write::string(out, name);
                    out.extend_from_slice(b": ");
                    write::value(out, &value);
                }
            }
        }
    }
    out.push(b'}');
    finish(out, id);
    client.write(out).await
}

/// A command's failure in QEMU's words.
fn failed(out: &mut Vec<u8>, name: &str, failure: &CommandError, id: Option<&Value>) {
    let (class, text) = match failure.class() {
        Class::Unknown => ("CommandNotFound", format!("The command {name} has not been found")),
        Class::Disabled => ("CommandNotFound", format!("Command {name} has been disabled")),
        Class::Frozen => (
            "CommandNotFound",
            format!("Command {name} has been disabled: the agent is in frozen state"),
        ),
        _ => ("GenericError", failure.message().to_owned()),
    };
    error(out, class, &text, id);
}

fn error(out: &mut Vec<u8>, class: &str, text: &str, id: Option<&Value>) {
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\": ");
        write::value(out, id);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"\"error\": {\"class\": ");
    write::string(out, class);
    out.extend_from_slice(b", \"desc\": ");
    // It may repeat what came: a name of a mebibyte is told by its beginning.
    write::string(out, &text[..text.floor_char_boundary(MOST_TEXT)]);
    out.extend_from_slice(b"}}\n");
}
