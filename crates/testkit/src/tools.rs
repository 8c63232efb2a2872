//! Programs of Debian's packages that are unpacked beside the build, not installed: no service starts, nothing of the
//! machine changes. `cargo xtask setup` unpacks what `xtask/src/tools.rs` lists.
//!
//! ```no_run
//! use vnode_testkit::{needs, tools};
//! fn qg_00_a_stock_agent_answers() {
//!     needs!(Tool("usr/sbin/qemu-ga"));
//!     let agent = tools::command("usr/sbin/qemu-ga").unwrap().arg("--version").output();
//! }
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directory in the target directory that the packages are unpacked into.
const DIR: &str = "guest/tools";
/// Written last: a folder without it is not whole.
const LIST: &str = "unpacked.list";
/// Where the unpacked libraries lie, relative to that directory; the last two are Xen's own.
const LIBRARIES: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/xen-4.17/lib/x86_64-linux-gnu",
    "usr/lib/xen-4.17/lib/aarch64-linux-gnu",
];

/// Shell text that makes the unpacked libvirt look installed, in a mount namespace of its own; what it wants is said in it.
pub const LIBVIRT: &str = include_str!("libvirt.sh");

/// Where Python packages are installed, in the target directory.
const PYTHON: &str = "guest/python";

/// The unpacked root: `VNODE_TOOLS_DIR`, else that of the target directory the test was built in, else that of the
/// checkout's own `target`, so that builds with another `CARGO_TARGET_DIR` need no set-up of their own.
///
/// # Errors
/// A sentence for `skipped: ...`, when none is there.
pub fn root() -> Result<PathBuf, String> {
    let set = std::env::var_os("VNODE_TOOLS_DIR").map(PathBuf::from);
    set.into_iter()
        .chain(in_targets(DIR))
        .find(|place| place.join(LIST).is_file())
        .ok_or_else(|| "no unpacked packages: run `cargo xtask setup`".to_owned())
}

/// Where Debian's kernel is unpacked for machines whose own system has none: beside [`root`].
pub fn kernel() -> Option<PathBuf> {
    let set =
        std::env::var_os("VNODE_TOOLS_DIR").map(|tools| Path::new(&tools).with_file_name("kernel"));
    set.into_iter().chain(in_targets("guest/kernel")).find(|place| place.join("boot").is_dir())
}

/// Folder of other people's Python packages, for `PYTHONPATH`: found as [`root`] is.
///
/// # Errors
/// A sentence for `skipped: ...`, when none is there.
pub fn python() -> Result<PathBuf, String> {
    in_targets(PYTHON)
        .find(|place| place.join(LIST).is_file())
        .ok_or_else(|| "no Python packages: run `cargo xtask setup`".to_owned())
}

/// A folder in the running test's target directory, and in the checkout's.
fn in_targets(name: &str) -> impl Iterator<Item = PathBuf> {
    let test = std::env::current_exe().expect("the running test has a path");
    // target/debug/deps/test
    let own = test.ancestors().nth(3).map(|target| target.join(name));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    own.into_iter().chain(checkout.map(|root| root.join("target").join(name)))
}

/// The file of that name, as in the package: `usr/sbin/qemu-ga`.
///
/// # Errors
/// A sentence for `skipped: ...`: nothing is unpacked, or this Debian's packages do not hold the file.
pub fn path(name: &str) -> Result<PathBuf, String> {
    let path = root()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("no package unpacked by `cargo xtask setup` holds `{name}`"))
}

/// The `LD_LIBRARY_PATH` that the unpacked programs want. Empty when nothing is unpacked.
pub fn library_path() -> OsString {
    let Ok(root) = root() else { return OsString::new() };
    let dirs = LIBRARIES.iter().map(|dir| root.join(dir)).filter(|dir| dir.is_dir());
    std::env::join_paths(dirs).expect("paths of the target directory hold no colon")
}

/// The unpacked program, ready to be given arguments, with its library path.
///
/// # Errors
/// As [`path`].
pub fn command(name: &str) -> Result<Command, String> {
    let mut command = Command::new(path(name)?);
    command.env("LD_LIBRARY_PATH", library_path());
    Ok(command)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_unpacked_program_starts_or_its_absence_is_said() {
        match super::command("usr/sbin/qemu-ga") {
            Ok(mut agent) => {
                let out = agent.arg("--version").output().unwrap();
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            }
            Err(why) => {
                assert!(why.contains("xtask setup"), "{why}");
                crate::skip(&why);
            }
        }
        let why = super::path("usr/sbin/no-such-program").unwrap_err();
        assert!(why.contains("xtask setup"), "{why}");
    }
}
