//! The front as it is started. That this package has a test of it also makes `cargo test --workspace` build it; other
//! packages' tests use it.
#![allow(clippy::disallowed_methods)] // a test starts what it tests

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use vnode_testkit::built_program;

const FRONT: &str = env!("CARGO_BIN_EXE_vnode");

/// Under the name that users type: it is in the texts.
fn run(program: impl AsRef<Path>, words: &[&str]) -> Output {
    Command::new(program.as_ref()).arg0("vnode").args(words).output().expect("it starts")
}

#[test]
fn the_front_becomes_the_whole_program() {
    let core = built_program("vnode-core");
    for words in [&["--version"][..], &["--help"], &["no-such-command"]] {
        let (by_front, by_core) = (run(FRONT, words), run(&core, words));
        assert_eq!(by_front, by_core, "{words:?}");
    }
    assert!(run(FRONT, &["--version"]).status.success());
}

#[test]
fn the_front_alone_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("vnode");
    std::fs::copy(FRONT, &alone).expect("a copy");
    let out = run(&alone, &["ps"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("install `vnode-core` beside `vnode`"),
        "{said}"
    );
}
