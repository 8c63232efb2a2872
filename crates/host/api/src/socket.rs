//! The unix socket the daemon listens on, at a path of any length.
//!
//! The kernel takes at most 107 bytes of path. A longer one is reached through a descriptor of its
//! folder: `/proc/self/fd/N/name` is short whatever the folder is called.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Bytes of a path in `struct sockaddr_un`, without the final zero.
const LONGEST: usize = 107;

/// Name of the socket in the state folder.
pub const NAME: &str = "vnode.sock";

/// Listens at `path` with mode 0600. A socket already there is replaced: the caller holds the
/// state folder's lock, so nobody listens on it any more.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = with_short(path, |short| UnixListener::bind(short))?;
    // Between bind and here the folder (mode 0700) and the check of the peer's user keep others out.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the daemon at `path`.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    with_short(path, |short| UnixStream::connect(short))
}

fn with_short<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return call(path);
    }
    let (folder, name) = split(path)?;
    let folder = File::from(rustix::fs::open(
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    short.push(name);
    call(&short)
}

fn split(path: &Path) -> io::Result<(&Path, OsString)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = path.file_name().filter(|name| name.len() < 64);
    match (folder, name) {
        (Some(folder), Some(name)) => Ok((folder, name.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no usable socket path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_path_of_300_bytes_works_and_the_socket_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x".repeat(150)).join("y".repeat(150));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(NAME);
        for _ in 0..2 {
            let listener = listen(&path).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let mut client = connect(&path).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            let mut bytes = [0; 5];
            server.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"hello");
        }
    }
}
