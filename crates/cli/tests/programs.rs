//! The two programs of the command line, as they are started. That this package has a test of them also makes
//! `cargo test --workspace` build them, once, with the features of everything else; other packages' tests use them.
#![allow(clippy::disallowed_methods)] // a test starts what it tests

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Under the name that users type: it is in the texts.
fn run(program: &str, words: &[&str]) -> Output {
    Command::new(program).arg0("vnode").args(words).output().expect("it starts")
}

#[test]
fn the_front_becomes_the_whole_program() {
    let [front, core] = [env!("CARGO_BIN_EXE_vnode"), env!("CARGO_BIN_EXE_vnode-core")];
    for words in [&["--version"][..], &["--help"], &["no-such-command"]] {
        let (by_front, by_core) = (run(front, words), run(core, words));
        assert_eq!(by_front, by_core, "{words:?}");
    }
    assert!(run(front, &["--version"]).status.success());
}

#[test]
fn the_front_alone_says_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("vnode");
    std::fs::copy(env!("CARGO_BIN_EXE_vnode"), &alone).expect("a copy");
    let out = run(&alone.display().to_string(), &["ps"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("install `vnode-core` beside `vnode`"),
        "{said}"
    );
}
