//! What the parser is given of the world; it looks at nothing else.

use std::io;
use std::path::Path;

/// Environment variables, the git checkout and files around a topology file.
///
/// The caller decides what of them the file's author may see: the command line gives its own
/// environment, a server may give [`Nothing`].
pub trait World {
    /// Value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;

    /// All environment variables, for `__IMPORT_ENVS`.
    fn all_env(&self) -> Vec<(String, String)>;

    /// Branch checked out in the folder of the file, for `__gitBranch__`.
    fn git_branch(&self) -> Option<String>;

    /// Commit checked out in the folder of the file, for `__gitHash__`.
    fn git_hash(&self) -> Option<String>;

    /// Name of the host that the lab would run on, for `placement`; `None` where that is not known.
    fn host_name(&self) -> Option<String> {
        None
    }

    /// Contents of a file named by `env-files`; the path is absolute.
    ///
    /// # Errors
    /// As reading does. Implementations bound the size.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// A world with nothing in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl World for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn all_env(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn git_branch(&self) -> Option<String> {
        None
    }

    fn git_hash(&self) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("no files may be read here, not even `{}`", path.display()),
        ))
    }
}
