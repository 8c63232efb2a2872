//! A northbound on the loopback, over nodes that are only remembered: they keep state as an agent does, and fail when
//! they are told to.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // helpers of tests; each test file takes some

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Notify;
use vnode_nfv::{Ask, Failure, Functions, Look, Nfv, Options, Refusal, Task};

/// One function of the stand-in.
#[derive(Debug, Default, Clone)]
struct Function {
    instantiated: bool,
    started: bool,
    failed: Option<Ask>,
}

/// Nodes `lab/a` and `lab/b`.
#[derive(Debug, Default)]
pub struct Nodes {
    functions: Mutex<BTreeMap<String, Function>>,
    /// What the next operations fail with; nothing: they succeed.
    pub failures: Mutex<VecDeque<Option<Failure>>>,
    /// Every task, as it came.
    pub tasks: Mutex<Vec<Task>>,
    /// Held operations wait for it.
    pub hold: Mutex<Option<Arc<Notify>>>,
    pub cancelled: Mutex<Vec<bool>>,
}

impl Nodes {
    pub fn fail_next(&self, failure: Failure) {
        self.failures.lock().unwrap().push_back(Some(failure));
    }

    pub fn asks(&self) -> Vec<Ask> {
        self.tasks.lock().unwrap().iter().map(|task| task.ask.clone()).collect()
    }
}

impl Functions for Nodes {
    fn place<'a>(&'a self, wanted: Option<&'a str>) -> BoxFuture<'a, Result<String, Refusal>> {
        let found = match wanted {
            Some(name @ ("lab/a" | "lab/b")) => Ok(name.to_owned()),
            Some(name) => Err(Refusal(format!("there is no node `{name}`"))),
            None => Ok("lab/a".to_owned()),
        };
        async move { found }.boxed()
    }

    fn perform(&self, task: Task) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            self.tasks.lock().unwrap().push(task.clone());
            let hold = self.hold.lock().unwrap().clone();
            if let Some(hold) = hold {
                hold.notified().await;
            }
            let mut failure = self.failures.lock().unwrap().pop_front().flatten();
            if matches!(&task.ask, Ask::Heal { cause: Some(cause), .. } if cause == "fail") {
                failure = Some(Failure::failed("told to fail"));
            }
            let mut functions = self.functions.lock().unwrap();
            let function = functions.entry(task.function.clone()).or_default();
            if let Some(failure) = failure {
                if !failure.unchanged && !matches!(task.ask, Ask::Retry | Ask::Rollback) {
                    function.failed = Some(task.ask);
                }
                return Err(failure);
            }
            let ask = match task.ask {
                Ask::Retry => {
                    function.failed.take().ok_or_else(|| Failure::refused("nothing failed"))?
                }
                ask => ask,
            };
            match ask {
                Ask::Instantiate { package, .. } => {
                    assert!(package.is_file(), "{}", package.display());
                    function.instantiated = true;
                    function.started = true;
                }
                Ask::Terminate { .. } => *function = Function::default(),
                Ask::Start { .. } | Ask::Heal { .. } => function.started = true,
                Ask::Stop { .. } => function.started = false,
                Ask::Rollback | Ask::Fail => function.failed = None,
                Ask::Forget => drop(functions.remove(&task.function)),
                Ask::Scale { .. } | Ask::Configure { .. } | Ask::Change { .. } => {}
                Ask::Retry | Ask::Settle => {}
            }
            Ok(())
        }
        .boxed()
    }

    fn cancel<'a>(
        &'a self,
        _node: &'a str,
        _function: &'a str,
        forceful: bool,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.cancelled.lock().unwrap().push(forceful);
        self.failures.lock().unwrap().push_back(Some(Failure::failed("cancelled")));
        if let Some(hold) = self.hold.lock().unwrap().take() {
            hold.notify_one();
        }
        async { Ok(()) }.boxed()
    }

    fn look<'a>(
        &'a self,
        _node: &'a str,
        function: &'a str,
    ) -> BoxFuture<'a, Result<Option<Look>, Failure>> {
        let found = self.functions.lock().unwrap().get(function).cloned();
        let look = found.filter(|f| f.instantiated).map(|f| Look {
            started: f.started,
            watch: if f.started { "PRESENT" } else { "ABSENT" }.to_owned(),
            process: Some("edgefwd".to_owned()),
            pids: if f.started { vec![812] } else { Vec::new() },
            revision: Some("1".to_owned()),
        });
        async move { Ok(look) }.boxed()
    }
}

/// A northbound that listens, its nodes, and a client.
pub struct North {
    pub nodes: Arc<Nodes>,
    pub url: String,
    pub client: reqwest::Client,
    pub store: Arc<dyn vnode_store::Store>,
    pub folder: PathBuf,
    server: tokio::task::JoinHandle<()>,
    _dir: Option<tempfile::TempDir>,
}

impl Drop for North {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl North {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = vnode_store::memory();
        Self::on(store, dir.path().join("nfv"), Arc::default(), Some(dir)).await
    }

    /// Another daemon on the same state.
    pub async fn again(mut self) -> Self {
        self.server.abort();
        let dir = self._dir.take();
        Self::on(Arc::clone(&self.store), self.folder.clone(), Arc::clone(&self.nodes), dir).await
    }

    async fn on(
        store: Arc<dyn vnode_store::Store>,
        folder: PathBuf,
        nodes: Arc<Nodes>,
        dir: Option<tempfile::TempDir>,
    ) -> Self {
        let options = Options { page: 3, largest_package: 1 << 20, ..Options::new(folder.clone()) };
        let functions: Arc<dyn Functions> = nodes.clone();
        let nfv = Nfv::open(Arc::clone(&store), functions, options).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = nfv.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            nodes,
            url,
            client: vnode_image::http::client(&vnode_image::http::Options::default()).unwrap(),
            store,
            folder,
            server,
            _dir: dir,
        }
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let method = method.parse::<reqwest::Method>().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if path.starts_with("/vnflcm/v2") {
            request = request.header("Version", "2.0.0");
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// A package that is onboarded.
    pub async fn package(&self, archive: Vec<u8>) -> Value {
        let id = self.ask("POST", "/vnfpkgm/v1/vnf_packages", Some(json!({}))).await.id();
        self.upload(&id, archive).await.is(202);
        self.settled(&id).await
    }

    pub async fn upload(&self, id: &str, archive: Vec<u8>) -> Answer {
        let url = format!("{}/vnfpkgm/v1/vnf_packages/{id}/package_content", self.url);
        let request = self.client.put(url).header("Content-Type", "application/zip").body(archive);
        Answer::of(request.send().await.unwrap()).await
    }

    /// The package once it is neither uploaded nor looked at any more.
    pub async fn settled(&self, id: &str) -> Value {
        self.until(&format!("/vnfpkgm/v1/vnf_packages/{id}"), |package| {
            !matches!(package["onboardingState"].as_str(), Some("PROCESSING" | "UPLOADING"))
        })
        .await
    }

    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..3000 {
            last = self.ask("GET", path, None).await.is(200).body;
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} stays {last}");
    }

    /// An instance of a new package.
    pub async fn instance(&self) -> String {
        let package = self.package(archive("edgefw", Some("1.4.0"))).await;
        let body = json!({"vnfdId": package["vnfdId"], "vnfInstanceName": "edge1"});
        self.ask("POST", "/vnflcm/v1/vnf_instances", Some(body)).await.is(201).id()
    }

    /// Begins an operation; its occurrence's path.
    pub async fn begin(&self, instance: &str, operation: &str, body: Value) -> String {
        let path = format!("/vnflcm/v1/vnf_instances/{instance}/{operation}");
        self.ask("POST", &path, Some(body)).await.is(202).location.unwrap()
    }

    /// Waits for an occurrence to come to rest in this state.
    pub async fn rests(&self, occurrence: &str, state: &str) -> Value {
        let found = self
            .until(occurrence, |o| {
                !matches!(
                    o["operationState"].as_str(),
                    Some("STARTING" | "PROCESSING" | "ROLLING_BACK")
                )
            })
            .await;
        assert_eq!(found["operationState"], state, "{found}");
        found
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub link: Option<String>,
    pub version: Option<String>,
    pub range: Option<String>,
    pub kind: String,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let header =
            |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (location, link) = (header("location"), header("link"));
        let (version, range) = (header("version"), header("content-range"));
        let kind = header("content-type").unwrap_or_default();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Self { status, location, link, version, range, kind, bytes, body }
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        if status >= 400 {
            assert_eq!(self.kind, "application/problem+json");
            assert!(!self.body["detail"].as_str().unwrap().is_empty(), "clients show `detail`");
            assert_eq!(self.body["status"], status);
        }
        self
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }
}

/// A package as the seed lays it out, as a zip.
pub fn archive(name: &str, version: Option<&str>) -> Vec<u8> {
    let mut descriptor = json!({
        "schema": 2,
        "name": name,
        "VNFprocess": "edgefwd",
        "scaling": {"workers": {"max_steps": 2}},
        "lifecycle_event": [
            {"event": "INSTANTIATE", "lifecycle_events": ["install.sh"]},
            {"event": "START", "lifecycle_events": ["start.sh"]},
            {"event": "TERMINATE", "lifecycle_events": ["stop.sh"]},
            {"event": "SCALE", "lifecycle_events": ["scale.sh"]},
        ],
    });
    if let Some(version) = version {
        descriptor["version"] = json!(version);
    }
    zipped(&[
        ("lifecycle.json", descriptor.to_string().as_bytes()),
        ("install.sh", b"#!/bin/sh\n"),
        ("start.sh", b"#!/bin/sh\n"),
        ("stop.sh", b"#!/bin/sh\n"),
        ("scale.sh", b"#!/bin/sh\n"),
    ])
}

pub fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .unix_permissions(0o755);
    for (name, content) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Writes the archive where a program can read it.
pub fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}
