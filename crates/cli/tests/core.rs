//! The whole program as it is started. That this package has a test of it also makes `cargo test --workspace` build it,
//! once, with the features of everything else; other packages' tests use it.
#![allow(clippy::disallowed_methods)] // a test starts what it tests

use std::process::Command;

#[test]
fn it_tells_its_version() {
    let out = Command::new(env!("CARGO_BIN_EXE_vnode-core")).arg("--version").output();
    let out = out.expect("it starts");
    assert!(out.status.success());
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).trim_end(),
        concat!("vnode ", env!("CARGO_PKG_VERSION"))
    );
}
