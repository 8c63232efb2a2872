//! A message parser on a stream: one request a line, one answer a line.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};
use vnode_idle::Busy;

use super::{MessageParser, ParserError, Session, StreamParser};
use crate::{command::Form, exchange::Connection};

/// Lines above this reserve memory from the budget first, bytes.
const SMALL: usize = 64 << 10;

/// Serves lines.
#[derive(Debug, Clone)]
pub struct LineParser(pub Arc<dyn MessageParser>);

impl StreamParser for LineParser {
    fn form(&self) -> Form {
        self.0.form()
    }

    fn serve<'a>(
        &'a self,
        connection: Connection,
        session: Session,
    ) -> BoxFuture<'a, Result<(), ParserError>> {
        Box::pin(async move {
            let (from, mut to) = tokio::io::split(connection.stream);
            let mut from = BufReader::with_capacity(4096, from);
            let busy = session.context.state::<Busy>();
            loop {
                let mut line = Vec::new();
                let most = session.limits.request_bytes;
                let read = read_line(&mut from, &mut line, most, &session).await?;
                let (_reserved, whole) = match read {
                    None => return Ok(()),
                    Some(read) => read,
                };
                let guard = busy.enter();
                // What is longer than a request may be is answered as what it begins with: no JSON.
                let body = if whole { line.trim_ascii() } else { b"" };
                let answer =
                    self.0.handle(Some(body), session.limits.response_bytes, &session).await;
                let mut bytes = answer.body;
                bytes.push(b'\n');
                write(&mut to, &bytes, session.limits.stall).await?;
                for work in answer.after {
                    work.await;
                }
                drop(guard);
            }
        })
    }
}

async fn write(
    to: &mut (impl AsyncWriteExt + Unpin),
    bytes: &[u8],
    stall: Duration,
) -> Result<(), ParserError> {
    let writing = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    timeout(stall, writing).await.map_err(|_| ParserError::Stalled)??;
    Ok(())
}

type Read = Option<(Option<crate::limits::Reservation>, bool)>;

/// Reads a line of at most `most` bytes; of a longer one nothing is kept. `None` at the end.
async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    most: usize,
    session: &Session,
) -> Result<Read, ParserError> {
    let (mut reserved, mut whole, mut any) = (None, true, false);
    loop {
        let piece = from.fill_buf().await?;
        if piece.is_empty() {
            return Ok(any.then_some((reserved, whole)));
        }
        any = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let take = end.unwrap_or(piece.len());
        if line.len() + take > most {
            *line = Vec::new();
            whole = false;
        }
        if whole {
            if line.len() + take > SMALL && reserved.is_none() {
                reserved = Some(session.budget.reserve(most).await);
            }
            line.extend_from_slice(&piece[..take]);
        }
        from.consume(take + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some((reserved, whole)));
        }
    }
}
