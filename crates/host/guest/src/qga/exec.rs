//! A program through `guest-exec`: its input is sent whole, its end is polled for, its output comes with the end.

use std::{io, sync::Arc, time::Duration};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_protocol::frame::Exit;

use super::{Client, LARGE, PRINTED, decoded};
use crate::{
    error::{Error, Result},
    exec::{Control, Controls, Exec, ExecSpec, Pending, Reader, Size},
    pieces::Pieces,
};

/// First pause between two looks; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(1);
const SLOWEST: Duration = Duration::from_millis(100);
/// Most of a program's input: what goes into a request of 1 MiB.
const INPUT: usize = 512 << 10;
/// What a program finds when the definition names variables: QEMU's form replaces all of them then.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Goes to a folder and becomes the program; the words come after it.
const IN_FOLDER: &str = "cd -- \"$1\" && shift && exec \"$@\"";
/// How long the end of a program that was killed is waited for.
const KILLED: Duration = Duration::from_secs(5);

/// Begins a program.
pub(super) fn start(client: &Client, spec: ExecSpec) -> Result<Exec> {
    if spec.terminal.is_some() {
        return Err(Error::Unsupported {
            what: "qemu-ga gives no terminal: run it without one (`vnode exec -T`, with `-n` where it wants no input), \
                   install vnode-agent in the guest, or use its console"
                .to_owned(),
        });
    }
    let words = words(&spec)?;
    let (input, stdin) = if spec.stdin {
        let (ours, theirs) = tokio::io::duplex(32 << 10);
        let writer: crate::exec::Writer = Box::pin(ours);
        (Some(theirs), Some(writer))
    } else {
        (None, None)
    };
    let (out, stdout) = output();
    let (err, stderr) = output();
    let (end, ended) = oneshot::channel();
    let (pid, known) = watch::channel(None);
    let gone = CancellationToken::new();
    let run = Run { client: client.clone(), words, env: spec.env, limit: spec.time_limit, pid };
    tokio::spawn(run.live(input, out, err, end, gone.clone()));
    let guard = gone.drop_guard();
    let end = Box::pin(async move {
        // Dropped before the end, it ends the program.
        let _guard = guard;
        ended.await.unwrap_or(Err(Error::Closed(None)))
    });
    let control = Control(Arc::new(Remote { client: client.clone(), known }));
    Ok(Exec { stdin, stdout: Some(stdout), stderr: Some(stderr), control, end, ended: None })
}

type Pipe = mpsc::Sender<io::Result<Vec<u8>>>;

fn output() -> (Pipe, Reader) {
    let (to, from) = mpsc::channel(1);
    (to, Box::pin(Pieces::new(from)))
}

/// The program and its arguments as the guest has to start them.
fn words(spec: &ExecSpec) -> Result<Vec<String>> {
    let mut words = Vec::new();
    if let Some(user) = spec.user.as_deref().filter(|user| !matches!(*user, "root" | "0")) {
        if user.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let what = format!("qemu-ga runs nothing as `{user}`: name a user of the guest");
            return Err(Error::Unsupported { what });
        }
        words.extend(["runuser", "-u", user, "--"].map(str::to_owned));
    }
    if let Some(folder) = &spec.folder {
        words.extend(["/bin/sh", "-c", IN_FOLDER, "sh", folder].map(str::to_owned));
    }
    if spec.argv.is_empty() {
        words.extend(["/bin/sh", "-l"].map(str::to_owned));
    } else {
        words.extend(spec.argv.iter().cloned());
    }
    Ok(words)
}

struct Run {
    client: Client,
    words: Vec<String>,
    env: Vec<(String, String)>,
    limit: Option<Duration>,
    pid: watch::Sender<Option<i64>>,
}

impl Run {
    async fn live(
        self,
        input: Option<DuplexStream>,
        out: Pipe,
        err: Pipe,
        end: oneshot::Sender<Result<Exit>>,
        gone: CancellationToken,
    ) {
        let limit = self.limit.map(|limit| Instant::now() + limit);
        let running = async {
            let pid = self.begin(input).await?;
            self.pid.send_replace(Some(pid));
            self.ended(pid).await
        };
        let over = async {
            match limit {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = running => ended,
            () = over => Err(Error::Deadline { what: "exec".into(), after: self.limit.unwrap_or_default() }),
            () = gone.cancelled() => Err(Error::Closed(None)),
        };
        let pid = *self.pid.borrow();
        if ended.is_err()
            && let Some(pid) = pid
        {
            // The agent forgets a program only when somebody has seen its end.
            self.kill(pid).await;
        }
        match ended {
            Ok(Status { exit, stdout, stderr }) => {
                // Whoever has gone wants neither.
                let _ = end.send(Ok(exit));
                let _ = tokio::join!(out.send(Ok(stdout)), err.send(Ok(stderr)));
            }
            Err(error) => drop(end.send(Err(error))),
        }
    }

    async fn begin(&self, input: Option<DuplexStream>) -> Result<i64> {
        let mut data = Vec::new();
        if let Some(input) = input {
            let read = input.take(INPUT as u64 + 1).read_to_end(&mut data).await;
            read.map_err(|source| Error::Io { doing: "read the program's input", source })?;
            if data.len() > INPUT {
                let what = "the input of a program in a guest with qemu-ga".to_owned();
                return Err(Error::TooLarge { what, limit: INPUT as u64 });
            }
        }
        let (program, arguments) = self.words.split_first().expect("there is a program");
        let mut request = json!({"path": program, "arg": arguments, "capture-output": true});
        if !self.env.is_empty() {
            let mut env = vec![PATH.to_owned()];
            env.extend(self.env.iter().map(|(name, value)| format!("{name}={value}")));
            request["env"] = env.into();
        }
        if !data.is_empty() {
            request["input-data"] = BASE64.encode(&data).into();
        }
        let begun = self.client.call("guest-exec", request).await?;
        begun["pid"].as_i64().ok_or_else(|| Error::protocol("`guest-exec` gives no pid"))
    }

    async fn ended(&self, pid: i64) -> Result<Status> {
        let mut pause = FIRST;
        loop {
            if let Some(status) = status(&self.client, pid).await? {
                return Ok(status);
            }
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST);
        }
    }

    async fn kill(&self, pid: i64) {
        let killed = timeout(KILLED, async {
            signal(&self.client, pid, 9).await?;
            self.ended(pid).await
        });
        match killed.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, pid, "a program in a guest goes on"),
            Err(_) => tracing::debug!(pid, "a program in a guest does not end"),
        }
    }
}

struct Status {
    exit: Exit,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn status(client: &Client, pid: i64) -> Result<Option<Status>> {
    let patience = client.0.options.stall;
    let answer = client.ask("guest-exec-status", &json!({ "pid": pid }), LARGE, patience).await?;
    if answer["exited"].as_bool() != Some(true) {
        return Ok(None);
    }
    let number = |name: &str| answer[name].as_i64().and_then(|number| i32::try_from(number).ok());
    let exit = match (number("exitcode"), number("signal")) {
        (_, Some(signal)) => Exit { code: None, signal: Some(signal) },
        (Some(code), None) => Exit { code: Some(code), signal: None },
        (None, None) => return Err(Error::protocol("a program ended without a status")),
    };
    let stream = |name: &str| decoded(&answer[name], "guest-exec-status", PRINTED);
    let (stdout, mut stderr) = (stream("out-data")?, stream("err-data")?);
    for (name, what) in [("out-truncated", "output"), ("err-truncated", "errors")] {
        if answer[name].as_bool() == Some(true) {
            let said = format!("\n[qemu-ga cut the program's {what} here]\n");
            stderr.extend_from_slice(said.as_bytes());
        }
    }
    Ok(Some(Status { exit, stdout, stderr }))
}

/// QEMU's form has no signals: a program of the guest sends them.
async fn signal(client: &Client, pid: i64, signal: i32) -> Result<()> {
    let arguments = json!({"path": "kill", "arg": [format!("-{signal}"), pid.to_string()]});
    let begun: Value = client.call("guest-exec", arguments).await?;
    let Some(killer) = begun["pid"].as_i64() else { return Ok(()) };
    let until = Instant::now() + KILLED;
    let mut pause = FIRST;
    while Instant::now() < until {
        if status(client, killer).await?.is_some() {
            return Ok(());
        }
        sleep(pause).await;
        pause = (pause * 2).min(SLOWEST);
    }
    Ok(())
}

#[derive(Debug)]
struct Remote {
    client: Client,
    known: watch::Receiver<Option<i64>>,
}

impl Controls for Remote {
    fn signal(&self, number: i32) -> Pending<'_, Result<()>> {
        Box::pin(async move {
            // One that has not begun yet is signalled when it has.
            let mut known = self.known.clone();
            let Ok(pid) = known.wait_for(Option::is_some).await.map(|pid| *pid) else {
                return Ok(());
            };
            match pid {
                Some(pid) => signal(&self.client, pid, number).await,
                None => Ok(()),
            }
        })
    }

    fn resize(&self, _: Size) -> Pending<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
