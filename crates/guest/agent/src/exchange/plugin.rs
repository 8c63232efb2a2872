//! An exchange that is a program (docs/reference/agent-plugins.md): it prints requests and reads answers, one JSON
//! object a line.

use std::io;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
};
use vnode_action::{Running, Stdin, Stream};

use super::{ExchangeError, Message, MessageExchange};
use crate::{command::plugin, config::ProgramConfig};

/// Longest line of a plugin, bytes.
const LINE_BYTES: usize = 2 << 20;
/// Largest answer, bytes.
const ANSWER_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Line {
    id: String,
    request: Option<String>,
}

/// The exchange.
#[derive(Debug)]
pub struct ExchangePlugin {
    config: ProgramConfig,
    running: Option<Program>,
}

/// The running program.
#[derive(Debug)]
struct Program {
    /// Killed with this value.
    _running: Running,
    to: pipe::Sender,
    from: Lines,
}

/// Lines of a pipe, within a bound. Cancel-safe.
#[derive(Debug)]
pub(crate) struct Lines {
    from: pipe::Receiver,
    buffer: Vec<u8>,
    /// Bytes at its start that hold no newline.
    looked_at: usize,
}

impl Lines {
    pub(crate) fn new(from: pipe::Receiver) -> Self {
        Self { from, buffer: Vec::new(), looked_at: 0 }
    }

    /// The next line, without its end; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let end = self.buffer[self.looked_at..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let rest = self.buffer.split_off(self.looked_at + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.looked_at = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.looked_at = self.buffer.len();
            if self.buffer.len() > LINE_BYTES {
                let text = format!("a line is longer than {LINE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl ExchangePlugin {
    pub fn new(config: ProgramConfig) -> Self {
        Self { config, running: None }
    }

    fn broken(&self, reason: impl Into<String>) -> ExchangeError {
        ExchangeError::Broken { exchange: self.name(), reason: reason.into(), source: None }
    }

    fn start(&self) -> Result<Program, ExchangeError> {
        let spec = plugin::spec(&self.config.program)
            .stdin(Stdin::Pipe)
            .stdout(Stream::Pipe)
            .stderr(Stream::Inherit);
        let spec = self.config.arguments.iter().fold(spec, vnode_action::Spec::arg);
        let mut running = vnode_action::spawn(spec.arg("exchange"))
            .map_err(|error| self.broken(vnode_protocol::chain(&error)))?;
        let (Some(to), Some(from)) = (running.take_stdin(), running.take_stdout()) else {
            return Err(self.broken("its program has no streams"));
        };
        Ok(Program { _running: running, to, from: Lines::new(from) })
    }
}

impl MessageExchange for ExchangePlugin {
    fn name(&self) -> String {
        format!("plugin:{}", self.config.program.display())
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            // The old one is killed first.
            self.running = None;
            self.running = Some(self.start()?);
            Ok(())
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Message, ExchangeError>> {
        Box::pin(async {
            let Some(program) = &mut self.running else {
                return Err(self.broken("its program does not run"));
            };
            match program.from.next().await {
                Ok(Some(line)) => match serde_json::from_slice::<Line>(&line) {
                    Ok(line) => {
                        Ok(Message { id: line.id, body: line.request.map(String::into_bytes) })
                    }
                    Err(error) => {
                        Err(self.broken(format!("its program printed no request: {error}")))
                    }
                },
                Ok(None) => Err(self.broken("its program has ended")),
                Err(error) => Err(self.broken(error.to_string())),
            }
        })
    }

    fn answer<'a>(
        &'a mut self,
        id: &'a str,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ExchangeError>> {
        Box::pin(async move {
            let line = json!({"id": id, "response": String::from_utf8_lossy(body)});
            let Some(program) = &mut self.running else {
                return Err(self.broken("its program does not run"));
            };
            let written = program.to.write_all(format!("{line}\n").as_bytes()).await;
            written.map_err(|error| self.broken(format!("its program takes no answer: {error}")))
        })
    }

    fn answer_bytes(&self) -> usize {
        ANSWER_BYTES
    }
}
