//! A daemon killed at every fault point of a plan, with a store in a file and files as the world: after the next
//! start nothing is left, or all is there.
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_methods,
    reason = "the child is this test itself; the engine knows no action"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use vnode_event::Log;
use vnode_operation::{
    Engine, OperationId, Options, Outcome, Plan, Recovery, Runner, Step, StepContext, StepError,
    fault,
};
use vnode_store::Change;

const FOLDER: &str = "VNODE_OPERATION_TEST_FOLDER";
const FAULT: &str = "VNODE_OPERATION_TEST_FAULT";
const PLAN: &str = "VNODE_OPERATION_TEST_PLAN";

/// Makes files.
struct Files(PathBuf);

impl Files {
    fn path(&self, step: &Step) -> PathBuf {
        self.0.join(step.id.to_string())
    }
}

fn failed(error: &std::io::Error) -> StepError {
    StepError::from_error(error)
}

impl Runner for Files {
    fn begin<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async { Ok(vec![Change::create(&plan.subject, b"creating".to_vec())]) })
    }

    fn apply<'a>(
        &'a self,
        _context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async {
            File::create(self.path(step)).map(drop).map_err(|error| failed(&error))?;
            // The last step of a plan that is to fail.
            if step.data == "fail" { Err(StepError::new("no luck")) } else { Ok(()) }
        })
    }

    fn invert<'a>(
        &'a self,
        _context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async {
            match fs::remove_file(self.path(step)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&error)),
                _ => Ok(()),
            }
        })
    }

    fn finish<'a>(
        &'a self,
        _id: OperationId,
        plan: &'a Plan,
        outcome: &'a Outcome,
        _: &'a [u32],
    ) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async {
            Ok(vec![match outcome {
                Outcome::Completed => Change::put(&plan.subject, b"created".to_vec()),
                _ => Change::delete(&plan.subject),
            }])
        })
    }
}

fn plan(kind: &str) -> Plan {
    let mut plan = Plan::new("files", "house");
    let first = plan.push(Step::new("file.first", "first"));
    let middle: Vec<u32> =
        (0..3).map(|_| plan.push(Step::new("file.middle", "middle").needs([first]))).collect();
    let last = Step::new("file.last", "last").needs(middle);
    plan.push(if kind == "fail" { last.data("fail".into()) } else { last });
    if kind == "go-on" {
        plan.recovery = Recovery::GoOn;
    }
    plan
}

/// Not a test by itself: the daemon. Recovers, then runs the plan if it is given one.
#[tokio::test]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    fault::arm(&std::env::var(FAULT).unwrap()).unwrap();
    let store = vnode_store::open(&folder.join("store.redb")).unwrap();
    let events = Log::open(Arc::clone(&store), vnode_event::Options::default()).await.unwrap();
    let engine = Engine::new(store, events, Options { workers: 1, ..Options::default() });
    engine.register("files", Arc::new(Files(folder.join("world"))));
    let recovered = engine.recover().await.unwrap();
    assert!(recovered.unreadable.is_empty(), "{recovered:?}");
    for id in recovered.operations {
        engine.wait(id).await.unwrap();
    }
    if let Ok(kind) = std::env::var(PLAN) {
        engine.perform(plan(&kind)).await.unwrap();
    }
}

fn run(folder: &Path, fault: &str, plan: Option<&str>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--quiet"]).env(FOLDER, folder).env(FAULT, fault);
    command.env_remove(PLAN);
    if let Some(plan) = plan {
        command.env(PLAN, plan);
    }
    command.stdout(std::process::Stdio::null()).status().unwrap()
}

fn stage() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("world")).unwrap();
    folder
}

/// Each point a run passes, and how often.
fn points(plan: &str) -> BTreeMap<String, u64> {
    let folder = stage();
    let trace = folder.path().join("trace");
    assert!(run(folder.path(), &format!("trace:{}", trace.display()), Some(plan)).success());
    let mut points = BTreeMap::new();
    for point in fs::read_to_string(trace).unwrap().lines() {
        *points.entry(point.to_owned()).or_insert(0) += 1;
    }
    points
}

/// Files there, and the record of the subject.
async fn state(folder: &Path) -> (usize, Option<String>) {
    let store = vnode_store::open(&folder.join("store.redb")).unwrap();
    let record = store.get("house").await.unwrap();
    assert_eq!(store.list("operation/plan/").await.unwrap(), [], "a plan is left");
    let files = fs::read_dir(folder.join("world")).unwrap().count();
    (files, record.map(|entry| String::from_utf8(entry.value).unwrap()))
}

#[tokio::test]
async fn sigkill_at_every_fault_point_leaves_nothing_or_all() {
    let mut kills = 0;
    for kind in ["complete", "go-on", "fail"] {
        let points = points(kind);
        assert_eq!(points["plan.written"], 1);
        assert_eq!(points["file.middle.before"], 3);
        assert_eq!(points.contains_key("file.middle.inverse.after"), kind == "fail");
        for (point, passed) in points {
            for nth in 1..=passed {
                let folder = stage();
                let killed = run(folder.path(), &format!("kill:{point}#{nth}"), Some(kind));
                assert_eq!(killed.signal(), Some(9), "{kind}: {point} #{nth}");
                assert!(run(folder.path(), "", None).success(), "{kind}: {point} #{nth}");
                let (files, record) = state(folder.path()).await;
                // The end was durable before this point.
                let ended = point == "finish.after";
                let whole = kind == "go-on" || (kind == "complete" && ended);
                let expected = if whole { (5, Some("created".to_owned())) } else { (0, None) };
                assert_eq!((files, record), expected, "{kind}: {point} #{nth}");
                kills += 1;
            }
        }
    }
    println!("{kills} kills");
}

#[tokio::test]
async fn sigkill_at_every_inverse_of_a_recovery_is_recovered_from() {
    for nth in 1..=3 {
        for point in ["file.middle.inverse.before", "file.middle.inverse.after"] {
            let folder = stage();
            let killed = run(folder.path(), "kill:file.last.after", Some("complete"));
            assert_eq!(killed.signal(), Some(9));
            let killed = run(folder.path(), &format!("kill:{point}#{nth}"), None);
            assert_eq!(killed.signal(), Some(9));
            // And the third daemon is given something to do at once: the name is free again.
            assert!(run(folder.path(), "", Some("complete")).success());
            assert_eq!(state(folder.path()).await, (5, Some("created".to_owned())));
        }
    }
}
