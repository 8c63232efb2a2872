//! A short run of every fuzz target: finds what a change broke, not what hides deep.
//!
//! `cargo fuzz` compiles every dependency once more with coverage, which took eight minutes of two processors. Here only
//! the workspace's own crates are: the compiler's wrapper for those (`RUSTC_WORKSPACE_WRAPPER`) is this program, and
//! features are settled as for the tests, so that all else is there already. Two run at a time, on their seeds.

use std::collections::VecDeque;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use crate::counts::Counts;
use crate::shell::{self, command};

/// How long each target runs.
const SECONDS: u32 = 5;
/// Set where cargo calls this program as the compiler's wrapper.
const WRAPPER: &str = "VNODE_FUZZ_WRAPPER";
/// What `cargo fuzz` gives the compiler where no sanitizer is asked for; all stable.
const COVERAGE: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Becomes the compiler when cargo has called us as its wrapper: `xtask RUSTC ARGUMENT...`.
pub(crate) fn as_wrapper() -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let mut args = std::env::args_os().skip(1);
    let rustc = args.next()?;
    let args: Vec<_> = args.collect();
    let names = |name: &str| args.iter().any(|arg| arg == name);
    // Questions about the compiler name no crate; a build script runs by itself, without the fuzzer's run-time part.
    let plain = !names("--crate-name") || names("build_script_build");
    let mut command = Command::new(&rustc);
    command.args(&args).args(COVERAGE.iter().filter(|_| !plain));
    let error = command.exec();
    eprintln!("xtask: cannot start {}: {error}", rustc.display());
    Some(ExitCode::FAILURE)
}

/// `cargo xtask fuzz`.
pub(crate) fn alone() -> Result<(), String> {
    let mut total = Counts::default();
    run(&mut total);
    println!("{}", total.line());
    if total.failed == 0 { Ok(()) } else { Err(format!("{} failed", total.failed)) }
}

/// Builds and runs them all, and adds what became of them.
pub(crate) fn run(total: &mut Counts) {
    let targets = match targets() {
        Ok(targets) => targets,
        Err(why) => {
            println!("FAILED fuzzing: {why}");
            total.failed += 1;
            return;
        }
    };
    if let Err(error) = build(&targets) {
        println!("FAILED fuzz targets do not build: {error}");
        total.failed += 1;
        return;
    }
    let waiting = Mutex::new(VecDeque::from(targets));
    let total = Mutex::new(total);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some(target) = next() {
            let done = run_one(&target);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok(()) => total.passed += 1,
                Err(error) => {
                    println!("FAILED fuzz target {target}: {error}");
                    total.failed += 1;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}

fn build(targets: &[String]) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot name this program: {e}"))?;
    let mut build = command("cargo", &["build", "--locked", "--workspace"]);
    build.args(["--example", "features_of_tests"]);
    for target in targets {
        build.args(["--bin", target]);
    }
    build.env("RUSTC_WORKSPACE_WRAPPER", own).env(WRAPPER, "1");
    shell::log(build, "fuzz-build")
}

fn run_one(target: &str) -> Result<(), String> {
    let program = shell::target().join("debug").join(target);
    // What is found on the way stays out of the checkout.
    let found = folder(&shell::target().join("ci/fuzz").join(target))?;
    let seeds = shell::root().join("fuzz/seeds").join(target);
    let mut run = command(&program.display().to_string(), &[]);
    run.arg(format!("-max_total_time={SECONDS}"));
    run.args(["-rss_limit_mb=2048", "-timeout=60"]);
    run.arg(format!("-artifact_prefix={}/", found.display()));
    run.arg(&found).args(Some(seeds).filter(|seeds| seeds.is_dir()));
    shell::log(run, &format!("fuzz-{target}"))
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
    Ok(path.to_owned())
}

/// The targets by their files: `fuzz/fuzz_targets/NAME.rs`.
fn targets() -> Result<Vec<String>, String> {
    let dir = shell::root().join("fuzz/fuzz_targets");
    let entries =
        std::fs::read_dir(&dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    if names.is_empty() { Err(format!("no targets in {}", dir.display())) } else { Ok(names) }
}
