//! `cargo xtask test`: set-up, build, all tests, and what they amounted to.

use crate::counts::{self, Counts};
use crate::setup::{self, For};
use crate::shell::{self, command};

/// File that `ci` reads the counts from.
pub(crate) fn counts_path() -> std::path::PathBuf {
    shell::target().join("ci/counts")
}

pub(crate) fn run() -> Result<(), String> {
    let in_ci = std::env::var_os("VNODE_CI_STEP").is_some();
    setup::run(For::Test)?;
    if !shell::has_program("cargo-nextest") {
        shell::log(command("cargo", &["install", "--locked", "cargo-nextest"]), "install-nextest")?;
    }
    // By itself, so that what it costs is seen. The programs are built with it: each has a test in its own package.
    let build = command("cargo", &["test", "--no-run", "--workspace", "--locked"]);
    shell::log(build, "build")?;
    let report = shell::log_path("report");
    std::fs::write(&report, "").map_err(|e| format!("cannot write {}: {e}", report.display()))?;
    let mut total = Counts::default();
    let args = ["nextest", "run", "--workspace", "--locked", "--profile", "ci", "--no-tests=pass"];
    let mut nextest = command("cargo", &args);
    nextest.env("VNODE_TEST_REPORT", &report);
    if !shell::is_root() {
        // Tests need root for their namespaces; the compiler does not.
        nextest.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -E");
        nextest.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "sudo -E");
    }
    let tests = shell::log(nextest, "nextest");
    let nextest_log = std::fs::read_to_string(shell::log_path("nextest")).unwrap_or_default();
    match counts::of_nextest(&nextest_log) {
        Some(counts) => total.add(&counts),
        None => total.failed += 1, // it did not build
    }
    let lines = counts::read_report(&std::fs::read_to_string(&report).unwrap_or_default());
    let skipped = counts::correct(&mut total, &lines);
    let docs =
        shell::log(command("cargo", &["test", "--doc", "--workspace", "--locked"]), "doc-tests");
    let log = std::fs::read_to_string(shell::log_path("doc-tests")).unwrap_or_default();
    let doc_counts = counts::of_doc_tests(&log);
    if docs.is_err() && doc_counts.failed == 0 {
        total.failed += 1;
    }
    total.add(&doc_counts);
    for line in &skipped {
        println!("skipped: {line}");
    }
    // Passed, and yet something is wrong with them or with what they test.
    for line in nextest_log.lines().filter(|l| l.trim_start().starts_with("FLAKY")) {
        println!("failed first, then passed: {}", line.trim());
    }
    for error in [&tests, &docs].into_iter().filter_map(|r| r.as_ref().err()) {
        println!("{error}");
    }
    total.write(&counts_path())?;
    if in_ci {
        println!("tests: {}", total.line());
    } else {
        println!("{}", total.line());
    }
    if total.failed == 0 { tests.and(docs) } else { Err(format!("{} failed", total.failed)) }
}
