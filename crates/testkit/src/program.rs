//! Where the programs are: ours from the target directory, others from the search path.

use std::path::{Path, PathBuf};

/// The directory of this workspace's built programs: `VNODE_BIN_DIR`, or where the running test was built.
pub(crate) fn program_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("VNODE_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let test = std::env::current_exe().expect("the running test has a path");
    let dir = test.parent().expect("a program lies in a directory");
    // Tests lie in `deps/`, programs one above.
    if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_owned() } else { dir.to_owned() }
}

/// Path of a program of this workspace, built beside the running test.
///
/// `VNODE_BIN_DIR` names the directory where it is not the one of the test (in the guest, for one). A test package
/// cannot make cargo build another package's program: `make test` builds them first, and this says so when it finds none.
pub fn built_program(name: &str) -> PathBuf {
    let path = program_dir().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build -p vnode-front -p vnode-cli -p vnode-monitor` first, as `make test` does",
        path.display()
    );
    path
}

/// The program `name` on the search path or in the system's program directories.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| Path::is_file(path))
}
