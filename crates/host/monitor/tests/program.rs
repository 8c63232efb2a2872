//! The monitor's program. That this package has a test of it also makes `cargo test --workspace` build it, once, with
//! the features of everything else; other packages' tests use it.
#![allow(clippy::disallowed_methods)] // a test starts what it tests

use std::process::Command;

#[test]
fn started_by_hand_it_says_whose_it_is() {
    let out = Command::new(env!("CARGO_BIN_EXE_vnode-monitor")).output().expect("it starts");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2));
    assert!(said.contains("started by the vnode daemon, not by hand"), "{said}");
}
