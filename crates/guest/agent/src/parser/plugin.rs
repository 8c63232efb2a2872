//! A parser that is a program (docs/reference/agent-plugins.md), started for each request. It reads and prints one
//! JSON object a line: `{"request"}` in, any number of `{"call"}` out and `{"value"}` or `{"error"}` in,
//! `{"response"}` out.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::timeout};
use vnode_action::{Spec, Stdin, Stream};

use super::{Answer, MessageParser, Session};
use crate::{
    command::{CommandError, Form, plugin},
    config::ProgramConfig,
    exchange::Lines,
};

/// How long a request may take.
const TIME: std::time::Duration = std::time::Duration::from_secs(300);
/// Most calls of one request.
const CALLS: usize = 64;

/// The parser.
#[derive(Debug)]
pub struct ParserPlugin {
    config: ProgramConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Call {
        command: String,
        #[serde(default)]
        value: Value,
    },
    Response(String),
}

impl ParserPlugin {
    pub fn new(config: ProgramConfig) -> Self {
        Self { config }
    }

    async fn ask(
        &self,
        body: Option<&[u8]>,
        session: &Session,
        after: &mut Vec<crate::context::After>,
    ) -> Result<String, String> {
        let spec = plugin::spec(&self.config.program)
            .stdin(Stdin::Pipe)
            .stdout(Stream::Pipe)
            .stderr(Stream::Inherit);
        let spec = self.config.arguments.iter().fold(spec, Spec::arg).arg("parse");
        let mut running = vnode_action::spawn(spec).map_err(|error| error.to_string())?;
        let (Some(mut to), Some(from)) = (running.take_stdin(), running.take_stdout()) else {
            return Err("it has no streams".to_owned());
        };
        let mut lines = Lines::new(from);
        let mut line = json!({"request": body.map(String::from_utf8_lossy)});
        let mut calls = 0;
        loop {
            let written = to.write_all(format!("{line}\n").as_bytes()).await;
            written.map_err(|error| format!("it does not read: {error}"))?;
            let said = lines.next().await.map_err(|error| error.to_string())?;
            let said = said.ok_or("it ended without a response")?;
            match serde_json::from_slice(&said).map_err(|error| error.to_string())? {
                Line::Response(text) => return Ok(text),
                Line::Call { command, value } => {
                    calls += 1;
                    if calls > CALLS {
                        return Err(format!("it calls more than {CALLS} commands"));
                    }
                    let mut called = session.call(&command, value).await;
                    after.append(&mut called.after);
                    line = match called.result {
                        Ok(value) => json!({"value": value}),
                        Err(error) => json!({"error": failure(&error)}),
                    };
                }
            }
        }
    }
}

fn failure(error: &CommandError) -> Value {
    let class = format!("{:?}", error.class()).to_lowercase();
    json!({"class": class, "message": error.message(), "code": error.code()})
}

impl MessageParser for ParserPlugin {
    fn form(&self) -> Form {
        Form::Native
    }

    fn handle<'a>(
        &'a self,
        body: Option<&'a [u8]>,
        answer_bytes: usize,
        session: &'a Session,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let mut after = Vec::new();
            let asked = timeout(TIME, self.ask(body, session, &mut after)).await;
            let body = match asked.unwrap_or_else(|_| Err("it took too long".to_owned())) {
                Ok(text) if text.len() <= answer_bytes => text,
                Ok(_) => format!("{}\n", json!({"error": "the response is too long"})),
                Err(error) => {
                    let plugin = self.config.program.display();
                    tracing::error!(%plugin, error, "the parser failed");
                    json!({"error": "the parser failed"}).to_string()
                }
            };
            Answer { body: body.into_bytes(), after }
        })
    }
}
