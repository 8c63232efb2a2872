//! Our own form: tagged frames of `vnode-protocol`, many requests at a time on one connection.
//!
//! A request is a [`Frame::Request`] with `{"command": NAME, "value": ...}`; its frames bear the number the client
//! chose. It ends with [`Frame::Response`], [`Frame::Exit`] or [`Frame::Error`], also after [`Frame::Cancel`]. Each
//! side sends at most [`frame::WINDOW`] bytes of a stream, and then what [`Frame::Credit`] grants. A client that
//! sends more, or frames that are none, is cut. Who may not connect is told so by an error of request 0, and cut.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{BufReader, ReadHalf, split},
    task::JoinSet,
};
use vnode_action::CancellationToken;
use vnode_idle::Busy;
use vnode_protocol::frame::{self, Frame, Tagged, TaggedReader};

use super::{ParserError, Session, StreamParser};
use crate::{
    audit,
    command::{
        Class, CommandError, Form,
        native::{Ended, StreamIo},
    },
    exchange::{Connection, Io, Refused},
};

mod flow;
mod writer;

pub use flow::{Inbox, Input, Outbox};
use writer::Writer;

/// Requests of one connection at a time.
const REQUESTS: usize = 16;
/// Requests of all connections at a time.
const ALL_REQUESTS: usize = 64;

/// Requests of all connections.
#[derive(Debug, Default)]
struct Running(AtomicUsize);

struct Place(Arc<Running>);

impl Running {
    fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < ALL_REQUESTS).then_some(now + 1)
        });
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The parser.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: String,
    #[serde(default)]
    value: Value,
}

/// What the reader knows of a request that runs.
#[derive(Debug)]
struct Open {
    cancel: CancellationToken,
    inbox: Inbox,
    outbox: Outbox,
}

impl StreamParser for Native {
    fn form(&self) -> Form {
        Form::Native
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
    let (from, to) = split(connection.stream);
    // What ends this connection, from whichever side.
    let over = session.context.cancel().child_token();
    let _ends_with_us = over.clone().drop_guard();
    let writer = Writer::start(to, session.limits.stall, over.clone());
    let mut serving = Serving {
        reader: TaggedReader::new(BufReader::with_capacity(1024, from)),
        writer,
        session,
        over: over.clone(),
        open: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let result = serving.run().await;
    // What runs for a client that has gone is cancelled.
    over.cancel();
    while serving.tasks.join_next().await.is_some() {}
    match serving.writer.stalled() {
        true => Err(ParserError::Stalled),
        false => result,
    }
}

struct Serving {
    reader: TaggedReader<BufReader<ReadHalf<Box<dyn Io>>>>,
    writer: Writer,
    session: Session,
    over: CancellationToken,
    open: HashMap<u32, Open>,
    /// Each gives the number of its request when it is done.
    tasks: JoinSet<u32>,
}

impl Serving {
    async fn run(&mut self) -> Result<(), ParserError> {
        loop {
            let tagged = tokio::select! {
                tagged = self.reader.next() => tagged,
                Some(done) = self.tasks.join_next() => {
                    match done {
                        Ok(request) => drop(self.open.remove(&request)),
                        // A bug in a command: the client cannot be told which, so it is cut.
                        Err(error) => return Err(ParserError::Protocol(error.to_string())),
                    }
                    continue;
                }
                () = self.over.cancelled() => return Ok(()),
            };
            match tagged {
                Ok(Some(tagged)) => self.take(tagged).await?,
                Ok(None) => return Ok(()),
                Err(frame::Error::Io(error)) => return Err(error.into()),
                Err(error) => return Err(ParserError::Protocol(error.to_string())),
            }
        }
    }

    /// Ends that have been reached are taken off first: their numbers are free again.
    fn take_done(&mut self) {
        while let Some(Ok(request)) = self.tasks.try_join_next() {
            self.open.remove(&request);
        }
    }

    async fn take(&mut self, Tagged { request, frame }: Tagged) -> Result<(), ParserError> {
        if let Frame::Request(text) = &frame {
            self.take_done();
            return self.begin(request, text).await;
        }
        // What comes for a request that has ended crossed its end on the way.
        let Some(open) = self.open.get(&request) else { return Ok(()) };
        let taken = match frame {
            Frame::Cancel => {
                open.cancel.cancel();
                Ok(())
            }
            Frame::Credit(bytes) => open.outbox.credit(bytes),
            Frame::Stdin(bytes) | Frame::Data(bytes) => {
                let taken = open.inbox.bytes(bytes);
                if let Some(spare) = open.inbox.spare() {
                    self.reader.recycle(spare);
                }
                taken
            }
            Frame::StdinEnd | Frame::DataEnd => {
                open.inbox.end();
                Ok(())
            }
            Frame::Signal(number) => open.inbox.control(Input::Signal(number)),
            Frame::Resize { rows, columns } => open.inbox.control(Input::Resize { rows, columns }),
            _ => Err("a frame came that only the agent sends"),
        };
        taken.map_err(|text| ParserError::Protocol(text.to_owned()))
    }

    async fn begin(&mut self, request: u32, text: &[u8]) -> Result<(), ParserError> {
        if self.open.contains_key(&request) {
            return Err(ParserError::Protocol(format!("request {request} is running already")));
        }
        let refuse = |error: &CommandError| Tagged { request, frame: error_frame(error) };
        let parsed = self.session.limits.parse(text).map_err(|error| error.to_string());
        let parsed = parsed.and_then(|value| {
            serde_json::from_value::<Request>(value).map_err(|error| error.to_string())
        });
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = CommandError::invalid(format!("the request is malformed: {error}"));
                return self.writer.send(refuse(&error)).await;
            }
        };
        let place = self.session.context.state::<Running>().take();
        let Some(place) = place.filter(|_| self.open.len() < REQUESTS) else {
            let error = CommandError::new(Class::Busy, "too many requests are running");
            return self.writer.send(refuse(&error)).await;
        };
        let cancel = self.over.child_token();
        let outbox = Outbox::new(request, self.writer.clone());
        let inbox = Inbox::default();
        let open = Open { cancel: cancel.clone(), inbox: inbox.clone(), outbox: outbox.clone() };
        self.open.insert(request, open);
        let session = self.session.clone();
        let context = session.context.for_request(&cancel);
        self.tasks.spawn(async move {
            let io = StreamIo { inbox, outbox: outbox.clone() };
            let busy = session.context.state::<Busy>().enter();
            let mut after = Vec::new();
            let running = run(&session, &context, parsed, io, &mut after);
            let ended = tokio::select! {
                ended = running => ended,
                () = cancel.cancelled() => {
                    Err(CommandError::new(Class::Cancelled, "the request was cancelled"))
                }
            };
            let frame = match ended {
                Ok(Ended::Exit(exit)) => Frame::Exit(exit),
                Ok(Ended::Response(value)) => response(&value, session.limits.response_bytes),
                Err(error) => error_frame(&error),
            };
            // A connection that is over takes no answer, and its reader says why.
            let _ = outbox.last(frame).await;
            after.append(&mut context.take_after());
            for work in after {
                work.await;
            }
            drop((busy, place));
            request
        });
        Ok(())
    }
}

async fn run(
    session: &Session,
    context: &crate::context::Context,
    request: Request,
    io: StreamIo,
    after: &mut Vec<crate::context::After>,
) -> Result<Ended, CommandError> {
    let command = session.commands.look_up(context, &request.command).inspect_err(|error| {
        audit::Request::refused(context, &request.command, error);
    })?;
    if let Some(streaming) = command.streaming() {
        let audited =
            audit::Request::begin(context, Form::Native, &request.command, &request.value);
        let ended = streaming.stream(context, request.value, io).await;
        if let Some(audited) = audited {
            audited.ended(ended.as_ref().err());
        }
        let channel = context.channel();
        tracing::info!(channel, command = request.command, ok = ended.is_ok(), "done");
        return ended;
    }
    let called = session.commands.call(context, &request.command, request.value).await;
    *after = called.after;
    called.result.map(Ended::Response)
}

fn response(value: &Value, most: usize) -> Frame {
    match serde_json::to_vec(value) {
        Ok(json) if json.len() <= most.min(frame::MAX_PAYLOAD) => Frame::Response(json),
        Ok(json) => error_frame(&CommandError::failed(format!(
            "the result has {} bytes, more than an answer carries",
            json.len()
        ))),
        Err(error) => {
            error_frame(&CommandError::failed("the result is no JSON").with_source(error))
        }
    }
}

/// In the form in which the daemon reports errors: `{"code", "text", "causes"}`.
fn error_frame(error: &CommandError) -> Frame {
    let code = match error.class() {
        Class::Invalid => "usage",
        Class::NotFound => "not-found",
        Class::Disabled | Class::Denied => "forbidden",
        Class::Unknown | Class::Unsupported => "unsupported",
        Class::Frozen => "state",
        Class::TimedOut => "deadline",
        Class::Cancelled => "cancelled",
        Class::Busy => "unavailable",
        Class::Failed => "failed",
    };
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(cut(error.to_string()));
        cause = error.source();
    }
    problem_frame(code, error.to_string(), &causes)
}

fn problem_frame(code: &str, text: String, causes: &[String]) -> Frame {
    let problem = json!({"code": code, "text": cut(text), "causes": causes});
    Frame::Error(problem.to_string().into_bytes())
}

/// What a peer is told that is not let in: the API's codes of 401 and 403, as of request 0, which is nobody's.
pub(crate) fn refusal(why: Refused) -> Vec<u8> {
    let (code, text) = match why {
        Refused::User => ("forbidden", "this user may not connect; the channel's `users` may"),
        Refused::Token => ("unauthorized", "a valid token is needed"),
    };
    Tagged { request: 0, frame: problem_frame(code, text.to_owned(), &[]) }.encode()
}

/// Texts may hold what a client sent; an error frame stays small.
fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(4096);
    text.truncate(end);
    text
}
