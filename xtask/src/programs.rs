//! `cargo xtask programs`: the host's programs as they are meant to be installed.

use std::fs;
use std::path::PathBuf;

use crate::shell::{self, command};

/// The packages that the host's programs are in.
const PACKAGES: &[&str] = &["-p", "vnode-front", "-p", "vnode-cli", "-p", "vnode-monitor"];

/// Builds them with further arguments of cargo's.
pub(crate) fn build(more: &[&str]) -> Result<(), String> {
    shell::show(command("cargo", &[&["build", "--locked"], PACKAGES, more].concat()))
}

/// Builds them optimised, the front for the C library that starts fastest.
pub(crate) fn run() -> Result<(), String> {
    build(&["--release"])?;
    front()?;
    let folder = shell::target().join("release");
    println!("{0}/vnode\n{0}/vnode-core\n{0}/vnode-monitor", folder.display());
    Ok(())
}

/// The front, `vnode`, is started for every `vnode exec`, and does so little there that the start of its C library is
/// most of it: glibc asks the processor for its caches, which takes half a millisecond wherever a hypervisor answers
/// in its place, and musl does not ask. So it is built for musl where rustup has that target or can get it; else what
/// cargo has built stays, which does the same.
fn front() -> Result<(), String> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    if !has_target(&target) && !get_target(&target) {
        println!(
            "note: rustup cannot add the target {target}: `vnode exec` will take half a millisecond more"
        );
        return Ok(());
    }
    let mut cargo = command(
        "cargo",
        &["build", "--release", "--locked", "-p", "vnode-front", "--target", &target],
    );
    // At a fixed address there is nothing to relocate.
    cargo.env("RUSTFLAGS", "-C relocation-model=static");
    shell::show(cargo)?;
    let built = shell::target().join(target).join("release/vnode");
    let place = shell::target().join("release/vnode");
    // Cargo knows its own file by the link it has in `deps`: this one takes only the name.
    let beside = shell::target().join("release/vnode.new");
    fs::copy(&built, &beside).and_then(|_| fs::rename(&beside, &place)).map_err(|e| {
        format!("cannot put {} in the place of {}: {e}", built.display(), place.display())
    })
}

fn has_target(target: &str) -> bool {
    let asked = shell::read(command("rustc", &["--print", "target-libdir", "--target", target]));
    asked.is_ok_and(|folder| PathBuf::from(folder.trim()).is_dir())
}

fn get_target(target: &str) -> bool {
    shell::has_program("rustup")
        && shell::log(command("rustup", &["target", "add", target]), "rustup-target").is_ok()
}
