//! Network functions in nodes, for the northbound: each request is a verb of the agent's `vnf` in the node.
//!
//! The agent's own service in the node does the work and keeps it; what is run here is only its client, so an operation
//! goes on when this daemon ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vnode_lifecycle::{Host, request};
use vnode_nfv::{Ask, Failure, Functions, Look, Problem, Refusal, Script, Task};

/// Most bytes of an answer. The operations of one function, a hundred of them, are a tenth of it.
const ANSWER: u64 = 8 << 20;
/// Most bytes of an error.
const TROUBLE: u64 = 256 << 10;
/// Exit code of the agent's `vnf` when its service does not run.
const NO_SERVICE: i32 = 3;
/// How often an operation is looked at that a crash of ours left alone.
const LOOK: Duration = Duration::from_secs(1);

/// The agents of this host's nodes.
#[derive(Debug)]
pub(crate) struct Agents(pub(crate) Arc<Host>);

/// How the agent says no (`vnode-agent vnf`, with `--json`).
#[derive(Debug, Deserialize)]
struct Said {
    status: u16,
    code: String,
    detail: String,
    /// The operation that failed: without one nothing was changed.
    #[serde(default)]
    operation: Option<String>,
}

/// One operation as the agent shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    state: String,
    #[serde(default)]
    error: Option<Trouble>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trouble {
    detail: String,
    code: String,
    #[serde(default)]
    script: Option<String>,
    #[serde(default)]
    exit_code: Option<i32>,
    #[serde(default)]
    signal: Option<i32>,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    stderr_tail: String,
}

#[derive(Debug, Deserialize)]
struct Pushed {
    name: String,
    version: String,
}

/// What a run of the agent's `vnf` left.
struct Ended {
    code: i32,
    out: Vec<u8>,
    err: Vec<u8>,
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// `--param NAME=VALUE` of each.
fn parameters(argv: &mut Vec<String>, parameters: &Map<String, Value>) {
    for (name, value) in parameters {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        argv.push("--param".to_owned());
        argv.push(format!("{name}={value}"));
    }
}

fn json<T: serde::de::DeserializeOwned>(node: &str, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::failed(format!("node `{node}`: the agent's answer cannot be read: {error}"))
    })
}

impl Agents {
    /// Runs a verb; starts the agent's service first where it does not run.
    async fn verb(
        &self,
        node: &str,
        argv: Vec<String>,
        input: Option<&Path>,
    ) -> Result<Vec<u8>, Failure> {
        let mut ended = self.run(node, argv.clone(), input).await?;
        if ended.code == NO_SERVICE {
            let serve = self.run(node, words(["serve", "--detach"]), None).await?;
            if serve.code != 0 {
                return Err(self.why(node, &serve).await);
            }
            ended = self.run(node, argv, input).await?;
        }
        if ended.code == 0 { Ok(ended.out) } else { Err(self.why(node, &ended).await) }
    }

    async fn run(
        &self,
        node: &str,
        mut argv: Vec<String>,
        input: Option<&Path>,
    ) -> Result<Ended, Failure> {
        argv.insert(0, "--json".to_owned());
        let request =
            request::Exec { argv, through: request::Through::Vnf, ..request::Exec::default() };
        let lost = |what: &str| Failure::unreachable(format!("node `{node}`: {what}"));
        let mut exec = self.0.exec(node, request).await.map_err(|e| lost(&e.chain()))?;
        let stdin = exec.stdin.take();
        let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(path)) = (stdin, input) {
                let mut file = tokio::fs::File::open(path).await?;
                // A refusal may come before all is sent, and is worth more than the broken pipe.
                if tokio::io::copy(&mut file, &mut stdin).await.is_ok() {
                    let _ = stdin.shutdown().await;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let read = async |from: Option<vnode_lifecycle::Reader>, most: u64| {
            let mut bytes = Vec::new();
            if let Some(mut from) = from {
                (&mut from).take(most).read_to_end(&mut bytes).await?;
                // The rest is thrown away, so that the program can end.
                tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let ((), out, err) = tokio::try_join!(feed, read(stdout, ANSWER), read(stderr, TROUBLE))
            .map_err(|e| lost(&vnode_protocol::chain(&e)))?;
        let exit = exec.wait().await.map_err(|e| lost(&vnode_protocol::chain(&e)))?;
        Ok(Ended { code: exit.shell_code(), out, err })
    }

    async fn why(&self, node: &str, ended: &Ended) -> Failure {
        let Ok(said) = serde_json::from_slice::<Said>(&ended.err) else {
            let text = String::from_utf8_lossy(&ended.err);
            let text = text.trim().chars().take(500).collect::<String>();
            return Failure::failed(format!(
                "node `{node}`: the agent's `vnf` ended with {}: {text}",
                ended.code
            ));
        };
        let mut failure = match said.operation {
            Some(_) => Failure::failed(said.detail),
            None => Failure::refused(said.detail),
        };
        failure.problem.status = said.status;
        failure.problem.code = Some(said.code);
        if let Some(operation) = &said.operation {
            let shown = self.run(node, words(["operation", operation]), None).await;
            let trouble =
                shown.ok().and_then(|s| serde_json::from_slice::<Shown>(&s.out).ok()?.error);
            if let Some(trouble) = trouble {
                failure.problem = problem(trouble, failure.problem);
            }
        }
        failure
    }

    async fn instantiate(
        &self,
        task: &Task,
        package: &Path,
        given: &Map<String, Value>,
    ) -> Result<(), Failure> {
        let pushed = self.push(&task.node, package).await?;
        let mut argv = words(["instantiate", &pushed.name, "--version", &pushed.version]);
        argv.extend(words(["--name", &task.function]));
        parameters(&mut argv, given);
        self.verb(&task.node, argv, None).await.map(drop)
    }

    async fn push(&self, node: &str, package: &Path) -> Result<Pushed, Failure> {
        let answer = self.verb(node, words(["push", "-"]), Some(package)).await?;
        json(node, &answer)
    }

    /// Waits for the last operation of a function to come to rest.
    async fn settle(&self, node: &str, function: &str) -> Result<(), Failure> {
        loop {
            let answer = self.verb(node, words(["operations", function]), None).await?;
            let all: Vec<Shown> = json(node, &answer)?;
            let Some(last) = all.into_iter().next_back() else {
                return Err(Failure::failed("the daemon ended before the node was told; retry"));
            };
            match last.state.as_str() {
                "COMPLETED" | "ROLLED_BACK" => return Ok(()),
                "FAILED" | "FAILED_TEMP" => {
                    let failure = Failure::failed(format!("operation {} has failed", last.id));
                    return Err(match last.error {
                        Some(trouble) => {
                            Failure { problem: problem(trouble, failure.problem), ..failure }
                        }
                        None => failure,
                    });
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

fn problem(trouble: Trouble, base: Problem) -> Problem {
    let script = trouble.script.map(|script| {
        Box::new(Script {
            script,
            exit_code: trouble.exit_code,
            signal: trouble.signal,
            timed_out: trouble.timed_out.then_some(true),
            stderr_tail: Some(trouble.stderr_tail).filter(|text| !text.is_empty()),
        })
    });
    Problem { detail: trouble.detail, code: Some(trouble.code), script, ..base }
}

/// Seconds of a grace; none at all is a kill at once.
fn grace(time: Option<Duration>) -> String {
    time.map_or(0, |time| time.as_secs()).to_string()
}

impl Functions for Agents {
    fn place<'a>(&'a self, wanted: Option<&'a str>) -> BoxFuture<'a, Result<String, Refusal>> {
        async move {
            if let Some(wanted) = wanted {
                let node = self.0.node(wanted).await.map_err(|e| Refusal(e.chain()))?;
                return Ok(format!("{}/{}", node.lab, node.node));
            }
            let nodes = self.0.nodes_with_agents();
            match &nodes[..] {
                [only] => Ok(only.clone()),
                [] => Err(Refusal(
                    "no node has an agent; give one `agent: on-demand` in its topology".to_owned(),
                )),
                _ => Err(Refusal(
                    "several nodes have an agent; name one as `node` in `additionalParams`, or in \
                     the instance's `metadata`"
                        .to_owned(),
                )),
            }
        }
        .boxed()
    }

    fn perform(&self, task: Task) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            let name = task.function.as_str();
            let (mut argv, given) = match &task.ask {
                Ask::Instantiate { package, parameters } => {
                    return self.instantiate(&task, package, parameters).await;
                }
                Ask::Change { package, parameters } => {
                    let pushed = self.push(&task.node, package).await?;
                    (words(["update", name, "--version", &pushed.version]), parameters)
                }
                Ask::Settle => return self.settle(&task.node, name).await,
                Ask::Forget => {
                    return match self.verb(&task.node, words(["rm", name]), None).await {
                        // Its node, or the node's memory of it, is gone: so is the function.
                        Err(failure) if matches!(failure.problem.status, 404 | 503) => Ok(()),
                        other => other.map(drop),
                    };
                }
                Ask::Configure { parameters } => {
                    let mut argv = words(["configure", name]);
                    for (key, value) in parameters {
                        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        argv.push(format!("{key}={value}"));
                    }
                    return self.verb(&task.node, argv, None).await.map(drop);
                }
                Ask::Terminate { drain, .. } => {
                    (words(["terminate", name, "--grace", &grace(*drain)]), &Map::new())
                }
                Ask::Start { .. } => (words(["start", name]), &Map::new()),
                Ask::Stop { grace: time, .. } => {
                    (words(["stop", name, "--grace", &grace(*time)]), &Map::new())
                }
                Ask::Heal { cause, .. } => {
                    let mut argv = words(["heal", name]);
                    if let Some(cause) = cause {
                        argv.push(format!("--cause={cause}"));
                    }
                    (argv, &Map::new())
                }
                Ask::Scale { out, aspect, steps, .. } => {
                    let mut argv = words(["scale", "--steps", &steps.to_string()]);
                    if !out {
                        argv.push("--in".to_owned());
                    }
                    argv.extend(words(["--", name, aspect]));
                    (argv, &Map::new())
                }
                Ask::Retry => (words(["retry", name]), &Map::new()),
                Ask::Rollback => (words(["rollback", name]), &Map::new()),
                Ask::Fail => (words(["fail", name]), &Map::new()),
            };
            parameters(&mut argv, given);
            self.verb(&task.node, argv, None).await.map(drop)
        }
        .boxed()
    }

    fn cancel<'a>(
        &'a self,
        node: &'a str,
        function: &'a str,
        forceful: bool,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let mut argv = words(["cancel", function]);
            if forceful {
                argv.push("--force".to_owned());
            }
            self.verb(node, argv, None).await.map(drop)
        }
        .boxed()
    }

    fn look<'a>(
        &'a self,
        node: &'a str,
        function: &'a str,
    ) -> BoxFuture<'a, Result<Option<Look>, Failure>> {
        async move {
            let status: Value = match self.verb(node, words(["status", function]), None).await {
                Ok(answer) => json(node, &answer)?,
                Err(failure) if failure.problem.status == 404 => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let pids = status["pids"].as_array().into_iter().flatten();
            let text = |key: &str| status[key].as_str().map(str::to_owned);
            Ok(Some(Look {
                started: status["vnf_state"] == "STARTED",
                watch: text("watch").unwrap_or_default(),
                process: text("process"),
                pids: pids.filter_map(|p| u32::try_from(p.as_u64()?).ok()).collect(),
                revision: text("version"),
            }))
        }
        .boxed()
    }
}
