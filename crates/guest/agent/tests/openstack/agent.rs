//! An agent with one XenStore channel, and the host it serves.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use vnode_agent::{
    command::{Command, CommandError, Form, Policy, Registry},
    context::Context,
    exchange::{
        MessageExchange,
        xenstore::{Settings, exchange},
    },
    limits::{Budget, Limits},
    parser::{Session, openstack::parser},
};
use vnode_testkit::Xenstored;
use vnode_xenstore::{
    Access, Client, Errno, Transaction,
    memory::{self, Server},
};

const NONE: Transaction = Transaction::NONE;
/// The domain the agent is in.
pub(crate) const HOME: &str = "/local/domain/5";

/// A store of either kind.
pub(crate) enum Store {
    Memory { server: Server, dir: tempfile::TempDir },
    Real(Xenstored),
}

impl Store {
    pub(crate) fn memory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(memory::Limits::default());
        server.introduce(5);
        let store = Self::Memory { server, dir };
        store.listen();
        store
    }

    fn listen(&self) {
        let Self::Memory { server, dir } = self else { return };
        for (name, domain) in [("dom0", 0), ("dom5", 5)] {
            let path = dir.path().join(name);
            // Left by a listener that hung up.
            let _ = std::fs::remove_file(&path);
            server.listen(&path, domain).unwrap();
        }
    }

    /// Where the agent connects, and what its paths are relative to.
    pub(crate) fn settings(&self) -> Settings {
        let (path, base) = match self {
            Self::Memory { dir, .. } => (dir.path().join("dom5"), None),
            Self::Real(daemon) => (daemon.socket(), Some(HOME.to_owned())),
        };
        Settings { path: Some(path), base, ..Settings::default() }
    }

    /// The host's side.
    pub(crate) async fn host(&self) -> Host {
        let path = match self {
            Self::Memory { dir, .. } => dir.path().join("dom0"),
            Self::Real(daemon) => daemon.socket(),
        };
        Host { client: Client::connect(&Access::Socket(path)).await.unwrap() }
    }

    /// All connections break; the store is there again afterwards.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Memory { server, .. } => {
                server.hang_up();
                self.listen();
            }
            Self::Real(daemon) => daemon.restart(),
        }
    }

    /// How many messages the store has handled.
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::Memory { server, .. } => server.trace().len(),
            Self::Real(daemon) => daemon.trace().lines().filter(|l| l.contains("IN ")).count(),
        }
    }
}

/// Who asks.
pub(crate) struct Host {
    pub(crate) client: Client,
}

impl Host {
    pub(crate) async fn request(&mut self, id: &str, body: impl AsRef<[u8]>) {
        let path = format!("{HOME}/data/host/{id}");
        self.client.write(NONE, &path, body.as_ref()).await.unwrap();
    }

    pub(crate) async fn write(&mut self, path: &str, value: &str) {
        self.client.write(NONE, &format!("{HOME}/{path}"), value.as_bytes()).await.unwrap();
    }

    pub(crate) async fn withdraw(&mut self, id: &str) {
        self.client.rm(NONE, &format!("{HOME}/data/host/{id}")).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, id: &str) -> Option<String> {
        self.read(&format!("data/guest/{id}")).await
    }

    pub(crate) async fn read(&mut self, path: &str) -> Option<String> {
        match self.client.read(NONE, &format!("{HOME}/{path}")).await {
            Ok(value) => Some(String::from_utf8(value).unwrap()),
            Err(error) if error.errno() == Some(Errno::NoEntry) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn list(&mut self, path: &str) -> Vec<String> {
        match self.client.list(NONE, &format!("{HOME}/{path}")).await {
            Ok(names) => names,
            Err(error) if error.errno() == Some(Errno::NoEntry) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for the answer.
    pub(crate) async fn wait(&mut self, id: &str) -> Value {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(answer) = self.answer(id).await {
                return serde_json::from_str(&answer).unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no answer to {id}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks and waits.
    pub(crate) async fn call(&mut self, id: &str, name: &str, value: Value) -> (String, String) {
        self.request(id, json!({"name": name, "value": value}).to_string()).await;
        let answer = self.wait(id).await;
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("returncode"), text("message"))
    }
}

/// What the test's own command has done.
#[derive(Debug)]
pub(crate) struct Deeds {
    pub(crate) executed: Mutex<BTreeMap<String, usize>>,
    pub(crate) begun: Notify,
    pub(crate) release: Semaphore,
}

impl Default for Deeds {
    fn default() -> Self {
        Self { executed: Mutex::default(), begun: Notify::new(), release: Semaphore::new(0) }
    }
}

impl Deeds {
    pub(crate) fn count(&self, value: &str) -> usize {
        self.executed.lock().unwrap().get(value).copied().unwrap_or(0)
    }
}

/// `note` counts its values; `slow` does too, and then waits to be released; `long` answers 5 KB.
#[derive(Debug)]
struct Test(&'static str, Arc<Deeds>);

impl Command for Test {
    fn name(&self) -> &str {
        self.0
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        _: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let text = value.as_str().unwrap_or_default().to_owned();
            *self.1.executed.lock().unwrap().entry(text).or_default() += 1;
            match self.0 {
                "slow" => {
                    self.1.begun.notify_one();
                    self.1.release.acquire().await.unwrap().forget();
                    Ok(json!("at last"))
                }
                "long" => Ok(json!("x\u{e9}\"".repeat(1700))),
                _ => Ok(Value::Null),
            }
        }
        .boxed()
    }
}

/// An agent that runs. Dropping it is as killing it.
pub(crate) struct Agent {
    pub(crate) root: tempfile::TempDir,
    pub(crate) deeds: Arc<Deeds>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How an agent is started.
pub(crate) struct Start {
    pub(crate) settings: Settings,
    /// Commands at a time.
    pub(crate) at_once: usize,
    pub(crate) root: Option<tempfile::TempDir>,
    pub(crate) options: Vec<(&'static str, Value)>,
}

impl Start {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, at_once: 4, root: None, options: Vec::new() }
    }

    pub(crate) fn run(self) -> Agent {
        let root = self.root.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let deeds = Arc::new(Deeds::default());
        let mut registry = Registry::built_in();
        for name in ["note", "slow", "long"] {
            registry.insert(Box::new(Test(name, Arc::clone(&deeds))));
        }
        let commands = Arc::new(registry.for_form(Form::Openstack, &Policy::default()));
        let mut builder = Context::builder(root.path());
        for (name, options) in self.options {
            builder = builder.options(name, options);
        }
        let context = builder.build().unwrap().for_channel("xenstore", Arc::clone(&commands));
        let session =
            Session { context, commands, limits: Limits::default(), budget: Budget::default() };
        let mut settings = self.settings;
        settings.state.get_or_insert_with(|| -> PathBuf { root.path().join("begun") });
        let exchange = exchange(&settings).unwrap();
        let task = tokio::spawn(serve(exchange, session, self.at_once));
        Agent { root, deeds, task }
    }
}

/// What a channel does with a message exchange, in short.
async fn serve(mut exchange: Box<dyn MessageExchange>, session: Session, at_once: usize) {
    let parser = parser().unwrap();
    while exchange.open().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bytes = exchange.answer_bytes();
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((id, answer)) = working.next() => {
                let answer: vnode_agent::parser::Answer = answer;
                let id: String = id;
                exchange.answer(&id, &answer.body).await.unwrap();
                for work in answer.after {
                    work.await;
                }
            }
            message = exchange.next(), if working.len() < at_once => {
                let message = message.unwrap();
                let (parser, session) = (Arc::clone(&parser), session.clone());
                working.push(async move {
                    let answer = parser.handle(message.body.as_deref(), bytes, &session).await;
                    (message.id, answer)
                });
            }
        }
    }
}
