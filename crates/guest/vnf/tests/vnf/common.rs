//! A service, packages for it, and processes to watch.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vnode_vnf::{Failure, Request, client};

/// A service on a state folder of its own. Ends with the value.
pub(crate) struct Service {
    folder: tempfile::TempDir,
    child: Option<Child>,
    apart: bool,
    /// Another program that starts it, and its arguments.
    behind: Vec<String>,
    /// Nothing ever comes by it, and it ends with us: what reads from it lives as long.
    _lifeline: fs::File,
}

/// Where scripts of a test wait until it lets them go on, or has ended.
pub(crate) struct Gate {
    path: PathBuf,
    file: fs::File,
}

impl Gate {
    /// What a script says to wait here.
    pub(crate) fn wait(&self) -> String {
        format!("read gate < {}", self.path.display())
    }

    /// Lets one that waits, or comes to wait, go on.
    pub(crate) fn release(&self) {
        (&self.file).write_all(b"\n").expect("it is open");
    }
}

/// A fifo that has a writer, us, as long as the value lives. Readers need not wait for one then.
fn fifo(path: &Path) -> fs::File {
    use rustix::fs::{CWD, FileType, Mode};
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("made");
    fs::File::options().read(true).write(true).open(path).expect("it is there")
}

/// A name of a process that no other test has, of at most 15 bytes.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}{}x{}", std::process::id() % 100_000, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a process runs.
pub(crate) fn lives(pid: &str) -> bool {
    // The state comes after the name; one that is only not waited for has ended.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Not even its status is left.
pub(crate) fn is_gone(pid: &str) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_err()
}

pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "not so after two minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::with(&[], "")
    }

    /// In a network namespace of its own.
    pub(crate) fn apart() -> Self {
        let mut service = Self::new();
        service.apart = true;
        service.run(&[], "");
        service
    }

    /// On a file system of its own, of so many bytes; `size=16m`. Only for a thread with mounts of its own.
    pub(crate) fn on_a_small_disk(size: &std::ffi::CStr) -> Self {
        let mut service = Self::new();
        let (state, flags) = (service.state(), rustix::mount::MountFlags::empty());
        fs::create_dir(&state).expect("made");
        rustix::mount::mount("tmpfs", &state, "tmpfs", flags, Some(size)).expect("mounted");
        service.run(&[], "");
        service
    }

    /// Started by another program, which is given its words as the last arguments.
    pub(crate) fn behind(words: impl FnOnce(&Self) -> Vec<String>) -> Self {
        let mut service = Self::new();
        service.behind = words(&service);
        service.run(&[], "");
        service
    }

    pub(crate) fn with(options: &[&str], fault: &str) -> Self {
        let mut service = Self::new();
        service.run(options, fault);
        service
    }

    /// With all its files elsewhere.
    pub(crate) fn outside_of_tmp() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut service = Self::of(folder);
        service.run(&[], "");
        service
    }

    fn new() -> Self {
        Self::of(tempfile::tempdir().expect("a folder"))
    }

    fn of(folder: tempfile::TempDir) -> Self {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let lifeline = fifo(&folder.path().join("lifeline"));
        Self { folder, child: None, apart: false, behind: Vec::new(), _lifeline: lifeline }
    }

    /// What a script reads from to live as long as we do.
    pub(crate) fn lifeline(&self) -> String {
        self.path("lifeline").display().to_string()
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        let path = self.path(name);
        let file = fifo(&path);
        Gate { path, file }
    }

    /// Starts it, on the state that is there.
    pub(crate) fn run(&mut self, options: &[&str], fault: &str) {
        let state = self.state();
        let mut words =
            vec!["--state-dir".to_owned(), state.display().to_string(), "serve".to_owned()];
        words.extend(options.iter().map(|word| (*word).to_owned()));
        let log =
            fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let own = std::env::current_exe().expect("we are a program");
        let mut command = match self.behind.split_first() {
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(own);
                command
            }
            None => Command::new(own),
        };
        command
            .args([
                "--exact",
                "service_of_the_tests",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("VNF_TEST_SERVICE", words.join("\n"))
            .env("VNODE_FAULT", fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let apart = self.apart;
        let before = move || {
            if apart {
                // SAFETY: a new network namespace takes nothing from anybody.
                unsafe {
                    rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)?;
                }
            }
            // The service ends with the thread that started it.
            let signal = Some(rustix::process::Signal::KILL);
            Ok(rustix::process::set_parent_process_death_signal(signal)?)
        };
        // SAFETY: two system calls between fork and exec, nothing else.
        unsafe { command.pre_exec(before) };
        self.child = Some(command.spawn().expect("it starts"));
        if fault.contains("start") {
            return;
        }
        let alive = |child: &mut Option<Child>| {
            child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
        };
        eventually("the service serves", || {
            assert!(alive(&mut self.child) || !fault.is_empty(), "{}", self.log());
            (self.try_ask(&Request::Info).is_ok() || !alive(&mut self.child)).then_some(())
        });
    }

    /// What becomes of another service on the same state folder, which must not come to serve.
    pub(crate) fn refuses_another(&self, options: &[&str]) -> String {
        let folder = self.state().display().to_string();
        let words = [&["--state-dir", &folder, "serve"][..], options].concat();
        let refused = Command::new(std::env::current_exe().expect("us"))
            .args(["--exact", "service_of_the_tests", "--ignored", "--nocapture"])
            .env("VNF_TEST_SERVICE", words.join("\n"))
            .output()
            .expect("it runs");
        assert!(!refused.status.success(), "{refused:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// A number of its `/proc/PID/status`, KiB.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let text = read(format!("/proc/{}/status", self.pid()).as_ref());
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it is ours");
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().expect("it is ours");
        }
        self.ended();
    }

    pub(crate) fn try_ask(&self, request: &Request) -> Result<Value, client::ClientError> {
        client::ask(&self.state(), request, None, |_| true)
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: Value) -> Value {
        self.fails(request).unwrap_or_else(|failure| panic!("{failure:?}\n{}", self.log()))
    }

    pub(crate) fn fails(&self, request: Value) -> Result<Value, Failure> {
        let request: Request = serde_json::from_value(request).expect("a request");
        match self.try_ask(&request) {
            Ok(value) => Ok(value),
            Err(client::ClientError::Refused(failure)) => Err(failure),
            Err(other) => panic!("{other}: {}", self.log()),
        }
    }

    /// The answer of a request that must be refused: its status.
    #[track_caller]
    pub(crate) fn refused(&self, request: Value) -> u16 {
        self.fails(request).expect_err("it is to be refused").status
    }

    pub(crate) fn items(&self, request: Value) -> Vec<Value> {
        let request: Request = serde_json::from_value(request).expect("a request");
        let mut items = Vec::new();
        client::ask(&self.state(), &request, None, |item| {
            items.push(item);
            true
        })
        .expect("it answers");
        items
    }

    pub(crate) fn push_bytes(&self, bytes: &[u8]) -> Result<Value, Failure> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .expect("it can be written");
        let length = bytes.len() as u64;
        match client::ask(
            &self.state(),
            &Request::Push { length, instantiate: false },
            Some((file, length)),
            |_| true,
        ) {
            Ok(value) => Ok(value),
            Err(client::ClientError::Refused(failure)) => Err(failure),
            Err(other) => panic!("{other}: {}", self.log()),
        }
    }

    #[track_caller]
    pub(crate) fn push(&self, package: &Pkg) -> Value {
        self.push_bytes(&package.tar()).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    #[track_caller]
    pub(crate) fn instantiate(&self, package: &Pkg) -> Value {
        self.push(package);
        self.ask(json!({ "verb": "instantiate", "package": package.name() }))
    }

    /// What scripts of [`Pkg::tells`] have written.
    pub(crate) fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn tells(&self, lines: &[&str]) {
        let begun = Instant::now();
        while self.told() != lines {
            if begun.elapsed() > Duration::from_secs(120) {
                let events = self.items(json!({ "verb": "events" }));
                let events: Vec<String> =
                    events.iter().rev().take(20).map(Value::to_string).collect();
                let (told, log) = (self.told(), self.log());
                panic!("told {told:?}, not {lines:?}\n{}\n{log}", events.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A program of that name that lives until its standard input, or the file it is given, ends.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if path.exists() { path } else { self.copy_of("/bin/cat", name) }
    }

    /// A program under another name.
    pub(crate) fn copy_of(&self, program: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        // By another process: a child that is forked while we write has the file open, and then nobody can run it.
        let copied = Command::new("cp").arg(program).arg(&path).status();
        assert!(copied.expect("cp").success());
        path
    }

    pub(crate) fn run_as(&self, name: &str) -> Process {
        Process::start(&mut Command::new(self.program(name)))
    }

    /// Ourselves under that name, doing what `process_of_the_tests` calls `how`.
    pub(crate) fn run_ourselves(&self, name: &str, how: &str) -> Process {
        let path = self.path(name);
        // The kernel names a process after the link.
        let own = std::env::current_exe().expect("we are a program");
        std::os::unix::fs::symlink(own, &path).expect("the name is new");
        let words = ["--exact", "process_of_the_tests", "--ignored", "--nocapture"];
        Process::start(Command::new(path).args(words).env("VNF_TEST_PROCESS", how))
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        self.ask(json!({ "verb": "status", "name": name }))
    }

    /// Waits until every hook that was begun is on record as ended: what happens before is put together with it.
    pub(crate) fn settled(&self) {
        eventually("all hooks have ended", || {
            let events = self.items(json!({ "verb": "events" }));
            // The newest of each; the oldest are forgotten after a while.
            let hooks = events.iter().filter(|event| event["data"]["automatic"] == true);
            let last: BTreeMap<_, _> = hooks
                .map(|event| (event["operation"].to_string(), event["data"]["state"].to_string()))
                .collect();
            last.values().all(|state| state != "\"PROCESSING\"").then_some(())
        });
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.items(json!({ "verb": "events" }))
            .iter()
            .map(|e| e["kind"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// A process that ends with the value, and with us: its standard input is a pipe of ours.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts"))
    }

    /// A line on its standard input.
    pub(crate) fn line(&mut self) {
        let input = self.0.stdin.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("it reads");
    }

    pub(crate) fn stop(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A package that is being made.
#[derive(Clone)]
pub(crate) struct Pkg {
    pub(crate) descriptor: Value,
    files: Vec<(String, String)>,
    told: PathBuf,
}

impl Pkg {
    /// Schema 2; its scripts write what they are to the service's file `told`.
    pub(crate) fn new(service: &Service, name: &str, process: &str) -> Self {
        Self {
            descriptor: json!({ "schema": 2, "name": name, "VNFprocess": process, "lifecycle_event": [] }),
            files: Vec::new(),
            told: service.path("told"),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.descriptor["name"].as_str().expect("a name").to_owned()
    }

    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.descriptor[key] = value;
        self
    }

    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// An event with a script of that body.
    pub(crate) fn on(self, event: &str, body: &str) -> Self {
        self.with(event, json!({}), &[json!({})], &[body])
    }

    /// An event whose scripts have these options.
    pub(crate) fn with(
        mut self,
        event: &str,
        options: Value,
        scripts: &[Value],
        bodies: &[&str],
    ) -> Self {
        let mut list = Vec::new();
        for (index, (script, body)) in scripts.iter().zip(bodies).enumerate() {
            let file = format!("{}{index}.sh", event.to_lowercase());
            let mut script = script.clone();
            script["script"] = json!(file);
            list.push(script);
            self.files.push((
                file,
                format!(
                    "#!/bin/sh\ntold() {{ echo \"$@\" >> {}; }}\n{body}\n",
                    self.told.display()
                ),
            ));
        }
        let mut item = options;
        item["event"] = json!(event);
        item["lifecycle_events"] = json!(list);
        self.descriptor["lifecycle_event"].as_array_mut().expect("a list").push(item);
        self
    }

    /// START and TERMINATE tell their names.
    pub(crate) fn watched(service: &Service, name: &str, process: &str) -> Self {
        Self::new(service, name, process)
            .on("START", "told START")
            .on("TERMINATE", "told TERMINATE")
    }

    /// Its process may come and go as often as a test likes.
    pub(crate) fn calm(self) -> Self {
        let flap = json!({ "transitions": 1000, "window_s": 1, "hold_s": 1 });
        self.set("process", json!({ "flap": flap }))
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let descriptor = self.descriptor.to_string();
        let files = self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        for (name, text) in std::iter::once(("lifecycle.json", descriptor.as_str())).chain(files) {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes()).expect("memory takes it");
        }
        builder.into_inner().expect("memory takes it")
    }
}

pub(crate) fn read(path: &Path) -> String {
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text
}
