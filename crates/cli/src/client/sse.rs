//! Server-sent events, as far as the daemon sends them: `id`, `event` and one or more `data` lines.

use futures_util::StreamExt;
use http_body_util::BodyStream;
use hyper::body::Incoming;
use vnode_api::Problem;

/// Longest message taken.
const MAX_MESSAGE: usize = 4 << 20;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Type; empty when none was given.
    pub event: String,
    pub data: String,
}

/// The messages of one answer, as they come.
pub(crate) struct Messages {
    body: BodyStream<Incoming>,
    parser: Parser,
}

impl Messages {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body: BodyStream::new(body), parser: Parser::default() }
    }

    /// The next message; `None` when the daemon has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Problem> {
        loop {
            if let Some(message) = self.parser.take()? {
                return Ok(Some(message));
            }
            match self.body.next().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(super::lost)?.into_data() {
                        self.parser.rest.extend_from_slice(&data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    rest: Vec<u8>,
    message: Message,
}

impl Parser {
    fn take(&mut self) -> Result<Option<Message>, Problem> {
        let mut used = 0;
        let mut complete = None;
        while let Some(end) = self.rest[used..].iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&self.rest[used..used + end]).into_owned();
            used += end + 1;
            if self.line(line.trim_end_matches('\r')) {
                complete = Some(std::mem::take(&mut self.message));
                break;
            }
        }
        self.rest.drain(..used);
        if self.rest.len() + self.message.data.len() > MAX_MESSAGE {
            return Err(super::odd("the daemon sent a message without end"));
        }
        Ok(complete)
    }

    /// Takes one line; true when a message is complete. Lines that begin with a colon are comments.
    fn line(&mut self, line: &str) -> bool {
        if line.is_empty() {
            return !self.message.data.is_empty();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_bytes_are_cut() {
        let text =
            ": hello\n\nid: 7\nevent: progress\ndata: {\"a\":1}\n\ndata: one\ndata: two\r\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut got = vec![];
            for chunk in text.as_bytes().chunks(size) {
                parser.rest.extend_from_slice(chunk);
                while let Some(message) = parser.take().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(
                got,
                [
                    Message { event: "progress".into(), data: "{\"a\":1}".into() },
                    Message { event: String::new(), data: "one\ntwo".into() },
                ]
            );
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut parser = Parser { rest: vec![b'x'; MAX_MESSAGE + 1], ..Parser::default() };
        assert!(parser.take().is_err());
    }
}
