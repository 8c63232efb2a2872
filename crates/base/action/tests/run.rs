//! Real programs, well-behaved and not.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vnode_action::{
    CancellationToken, Cgroup, Error, ExitStatus, Resource, Session, Signal, Spec, Stdin, Stream,
    User, run, spawn, spawn_detached,
};

fn sh(script: &str) -> Spec {
    Spec::new(["sh", "-c", script]).capture(64 << 10).time_limit(Duration::from_secs(60))
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    println!("skipped: needs root");
    false
}

#[tokio::test]
async fn streams_status_and_environment_are_what_was_given() {
    let spec = sh("echo out; echo err >&2; env | sort; exit 3")
        .env("PATH", "/usr/bin:/bin")
        .env("A", "1 2");
    let output = run(spec, &never()).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "out\nA=1 2\nPATH=/usr/bin:/bin\nPWD=".to_owned() + &pwd() + "\n");
    assert_eq!(output.stderr, b"err\n");
    assert!(!output.stdout_truncated);
}

fn pwd() -> String {
    std::env::current_dir().unwrap().display().to_string()
}

#[tokio::test]
async fn the_program_inherits_no_descriptor() {
    // Descriptors without close-on-exec: the worst a library may leave open.
    let file = File::open("/etc/passwd").unwrap();
    let leaky = rustix::io::dup(&file).unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    let output = run(sh("ls /proc/self/fd"), &never()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: BTreeSet<&str> = text.lines().collect();
    // 3 is the folder that ls itself reads.
    assert_eq!(numbers, BTreeSet::from(["0", "1", "2", "3"]));
}

#[tokio::test]
async fn passed_descriptors_have_their_numbers_and_nothing_lies_between() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> OwnedFd {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        File::open(path).unwrap().into()
    };
    let spec = sh("cat <&5; cat <&9; ls /proc/self/fd").pass(9, file("nine")).pass(5, file("five"));
    let output = run(spec, &never()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "fivenine0\n1\n2\n3\n5\n9\n");
}

#[tokio::test]
async fn input_larger_than_a_pipe_comes_through_while_output_is_read() {
    let input: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let spec = Spec::new(["cat"]).stdin(Stdin::Bytes(input.clone())).capture(2_000_000);
    let output = run(spec, &never()).await.unwrap();
    assert!(output.success());
    assert!(output.stdout == input);
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_no_error() {
    let spec = sh("exec <&-; exit 0").stdin(Stdin::Bytes(vec![0; 1_000_000]));
    assert!(run(spec, &never()).await.unwrap().success());
}

#[tokio::test]
async fn a_flood_is_cut_at_the_cap_and_the_program_goes_on() {
    let spec = sh("head -c 5000000 /dev/zero; head -c 3000 /dev/zero >&2; echo x >&2");
    let output = run(spec.capture(1000), &never()).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!((output.stdout.len(), output.stdout_truncated), (1000, true));
    assert_eq!((output.stderr.len(), output.stderr_truncated), (1000, true));
    let exact = run(sh("head -c 1000 /dev/zero").capture(1000), &never()).await.unwrap();
    assert_eq!((exact.stdout.len(), exact.stdout_truncated), (1000, false));
}

#[tokio::test]
async fn an_endless_flood_ends_with_the_time_limit() {
    let spec = Spec::new(["yes"]).capture(100).time_limit(Duration::from_secs(2));
    let Err(Error::TimeLimit { output, .. }) = run(spec, &never()).await else { panic!() };
    assert_eq!(output.stdout.len(), 100);
    assert!(output.stdout_truncated);
    assert_eq!(output.status, ExitStatus::Signal(15));
}

/// Runs `script`, which makes the file `$READY` when it may be cancelled, and cancels it then.
async fn cancelled_when_ready(
    spec: impl FnOnce(Spec) -> Spec,
    script: &str,
) -> vnode_action::Output {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let token = never();
    let cancel = async {
        eventually("it is ready", || ready.exists()).await;
        token.cancel();
    };
    let spec = spec(sh(script).env("READY", &ready));
    let (result, ()) = tokio::join!(run(spec, &token), cancel);
    match result {
        Err(Error::Cancelled { output: Some(output), .. }) => *output,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_after_the_grace() {
    let script = "trap '' TERM; : > $READY; while :; do sleep 1; done";
    let grace = |spec: Spec| spec.grace(Duration::from_millis(100));
    let output = cancelled_when_ready(grace, script).await;
    assert_eq!(output.status, ExitStatus::Signal(9));
}

#[tokio::test]
async fn a_program_may_clean_up_within_the_grace() {
    let script =
        "trap 'echo cleaned; exit 7' TERM; echo ready; : > $READY; while :; do sleep 0.05; done";
    let grace = |spec: Spec| spec.grace(Duration::from_secs(60));
    let output = cancelled_when_ready(grace, script).await;
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!(output.stdout, b"ready\ncleaned\n");
}

#[tokio::test]
async fn cancelled_before_it_begins_it_never_begins() {
    let token = never();
    token.cancel();
    let error = run(sh("echo no"), &token).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { output: None, .. }));
}

#[tokio::test]
async fn what_a_program_leaves_in_its_group_is_killed_with_its_end() {
    let output = run(sh("sleep 1000 & echo $!"), &never()).await.unwrap();
    let pid: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    eventually("the child is gone", || gone(pid)).await;
}

#[tokio::test]
async fn dropping_the_future_kills_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", file.display());
    {
        let token = never();
        let mut future = Box::pin(run(sh(&script), &token));
        tokio::select! {
            _ = &mut future => panic!("it cannot have ended"),
            () = eventually("it has begun", || file.exists()) => {}
        }
    }
    let pid: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    eventually("it is gone", || gone(pid)).await;
    // Reaped too: not even a zombie is left.
    eventually("it is reaped", || !PathBuf::from(format!("/proc/{pid}")).exists()).await;
}

/// Where this process is in the v2 tree: the only place below which it surely may make a folder.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))?;
    let own = root.join(path);
    if own.join("cgroup.procs").exists() { Some(own) } else { Some(root) }
}

#[tokio::test]
async fn grandchildren_that_leave_the_session_are_killed_by_cgroup() {
    let name = format!("vnode-action-test-{}", std::process::id());
    let Some(parent) = own_cgroup() else {
        println!("skipped: no cgroup v2");
        return;
    };
    let cgroup = match Cgroup::create(parent.join(name)) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let script = "setsid sh -c 'setsid sleep 1000 & echo $!; : > $READY; sleep 1000' & sleep 1000";
    let spec = |spec: Spec| spec.cgroup(cgroup.path()).grace(Duration::from_millis(50));
    let output = cancelled_when_ready(spec, script).await;
    let pid: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    eventually("the grandchild is gone", || gone(pid)).await;
    eventually("nobody is left", || cgroup.processes().unwrap().is_empty()).await;
    cgroup.remove().await.unwrap();
    assert!(!cgroup.path().exists());
    cgroup.remove().await.unwrap();
}

#[tokio::test]
async fn a_stranger_that_holds_the_pipes_does_not_hold_us() {
    // Without a cgroup it cannot be killed by us: it ends by itself.
    let output = run(sh("echo said; setsid sleep 3 & exit 0"), &never()).await.unwrap();
    assert_eq!(output.stdout, b"said\n");
}

#[tokio::test]
async fn sessions_and_groups() {
    let ids = |output: vnode_action::Output| -> Vec<i32> {
        let text = String::from_utf8(output.stdout).unwrap();
        let rest = text.rsplit(") ").next().unwrap();
        // After the name: state, parent, group, session.
        rest.split(' ').skip(2).take(2).map(|id| id.parse().unwrap()).collect()
    };
    let own = rustix::process::getpgrp().as_raw_pid();
    let stat = || Spec::new(["cat", "/proc/self/stat"]).capture(4096);
    let group = ids(run(stat(), &never()).await.unwrap());
    assert_ne!(group[0], own);
    assert_ne!(group[0], group[1]);
    let session = ids(run(stat().session(Session::NewSession), &never()).await.unwrap());
    assert_eq!(session[0], session[1]);
    let inherit = ids(run(stat().session(Session::Inherit), &never()).await.unwrap());
    assert_eq!(inherit[0], own);
}

#[tokio::test]
async fn signals_are_at_their_defaults() {
    let output =
        run(Spec::new(["cat", "/proc/self/status"]).capture(1 << 16), &never()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
}

#[tokio::test]
async fn user_groups_and_limits() {
    if !is_root() {
        return;
    }
    let user = User { uid: 65_534, gid: 65_533, groups: vec![65_531, 65_532] };
    let spec = sh("id -u; id -g; id -G; ulimit -n; ulimit -c").user(user);
    let spec = spec.limit(Resource::Nofile, 77).limit(Resource::Core, 0);
    let output = run(spec, &never()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "65534\n65533\n65533 65531 65532\n77\n0\n");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let error = run(Spec::new(["no-such-program"]), &never()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = run(Spec::new(["/no/such/program"]), &never()).await.unwrap_err();
    assert!(error.to_string().contains("execute the file for `/no/such/program`"), "{error}");
    let error = run(Spec::new(["true"]).folder("/no/such/folder"), &never()).await.unwrap_err();
    assert!(error.to_string().contains("working directory"), "{error}");
    let error = run(Spec::new(Vec::<String>::new()), &never()).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error}");
    let error = run(Spec::new(["true", "a\0b"]), &never()).await.unwrap_err();
    assert!(error.to_string().contains("zero byte"), "{error}");
}

#[tokio::test]
async fn a_program_is_held_and_spoken_to() {
    let spec = Spec::new(["cat"]).stdin(Stdin::Pipe).stdout(Stream::Pipe);
    let mut running = spawn(spec).unwrap();
    let (mut input, mut output) = (running.take_stdin().unwrap(), running.take_stdout().unwrap());
    input.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    output.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    running.signal(Signal::TERM).unwrap();
    assert_eq!(running.wait().await.unwrap(), ExitStatus::Signal(15));
    assert_eq!(running.wait().await.unwrap(), ExitStatus::Signal(15), "again");
    running.kill().unwrap();
}

#[tokio::test]
async fn a_detached_program_outlives_its_handle_and_logs_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = |path: &PathBuf| -> OwnedFd { File::create(path).unwrap().into() };
    let spec =
        Spec::new(["sh", "-c", "echo started; exec sleep 1000"]).stdout(Stream::Fd(file(&log)));
    let pid = spawn_detached(spec).unwrap();
    eventually("it logs", || {
        let mut text = String::new();
        File::open(&log).unwrap().read_to_string(&mut text).unwrap();
        text == "started\n"
    })
    .await;
    assert!(!gone(pid));
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    assert!(spawn_detached(sh("true")).is_err(), "captured output needs us");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_leave_no_descriptor_and_no_process() {
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    run(sh("true"), &never()).await.unwrap();
    let before = count();
    for _ in 0..4 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            tasks.spawn(async move { run(sh(&format!("echo {number}")), &never()).await });
        }
        while let Some(output) = tasks.join_next().await {
            assert!(output.unwrap().unwrap().success());
        }
    }
    assert_eq!(count(), before);
    let children = fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    assert_eq!(children.collect::<String>(), "");
}

#[tokio::test]
async fn a_program_begun_beside_us_is_held_from_the_first_moment() {
    let missing = Spec::new(["/nowhere/at-all"]);
    assert!(matches!(run(missing, &never()).await, Err(Error::Start { .. })));
    // An input that ends with this test.
    let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let waits = || sh("exec cat").stdin(Stdin::Fd(reading.try_clone().unwrap()));
    // Given up while it is begun, again and again: nothing is left of any.
    for _ in 0..50 {
        let spec = waits();
        let mut task = tokio::spawn(async { run(spec, &never()).await });
        tokio::task::yield_now().await;
        task.abort();
        assert!((&mut task).await.is_err_and(|error| error.is_cancelled()));
    }
    let children = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        tasks
            .map(|task| {
                fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()
            })
            .collect::<String>()
    };
    eventually("all are gone", || children().is_empty()).await;
    // Told to end before it has become the program: it ends by that.
    let soon = CancellationToken::new();
    let (ended, ()) = tokio::join!(run(waits(), &soon), async { soon.cancel() });
    assert!(matches!(ended, Err(Error::Cancelled { output: Some(_), .. })), "{ended:?}");
    drop(writing);
}
