//! Ending a whole tree of processes: by cgroup first, then by process group.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};

/// Rounds of killing one by one, on kernels without `cgroup.kill` (before 5.14).
const ROUNDS: usize = 100;

/// A cgroup v2 folder of our own, in which everything can be killed, wherever it has forked to.
///
/// It must be removed with [`Cgroup::remove`]; dropping the value does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the folder; its parent must be a cgroup v2 folder we may write. No error if it exists.
    ///
    /// # Errors
    /// When it cannot be made, or is no cgroup v2 folder.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Error::Cgroup { doing: "create", path, source: error })
            }
            _ => Self::open(path),
        }
    }

    /// Takes a folder that exists.
    ///
    /// # Errors
    /// When it is no cgroup v2 folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // v1 folders have `tasks` and no `cgroup.type` or `cgroup.controllers`.
        match fs::metadata(path.join("cgroup.controllers")) {
            Ok(_) => Ok(Self { path }),
            Err(source) => Err(Error::Cgroup { doing: "use", path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Process ids in the folder and below it.
    ///
    /// # Errors
    /// When the folder cannot be read; a folder that is gone holds nobody.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut processes = Vec::new();
        self.collect(&self.path, &mut processes).map_err(|source| Error::Cgroup {
            doing: "read",
            path: self.path.clone(),
            source,
        })?;
        Ok(processes)
    }

    /// Kills everything in the folder and below it.
    ///
    /// # Errors
    /// When the kernel does not let us; a folder that is gone is no error.
    pub fn kill(&self) -> Result<()> {
        let failed = |source| Error::Cgroup { doing: "kill", path: self.path.clone(), source };
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Ok(()) => return Ok(()),
            // Either the folder is gone, or the kernel is too old to have the file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        for _ in 0..ROUNDS {
            let processes = self.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            for process in processes {
                if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                    match rustix::process::kill_process(pid, Signal::KILL) {
                        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                        Err(error) => return Err(failed(error.into())),
                    }
                }
            }
        }
        Err(failed(io::Error::new(ErrorKind::TimedOut, "processes keep being made in it")))
    }

    /// Kills everything, waits until it is gone, and removes the folder with those below it.
    ///
    /// # Errors
    /// When something stays; a folder that is gone is no error.
    pub async fn remove(&self) -> Result<()> {
        self.kill()?;
        let mut pause = Duration::from_micros(200);
        let mut tries = 0;
        loop {
            match remove_tree(&self.path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                // Killed processes leave the folder only when they have ended.
                Err(error) if error.kind() == ErrorKind::ResourceBusy && tries < 40 => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(50));
                    tries += 1;
                }
                Err(source) => {
                    let path = self.path.clone();
                    return Err(Error::Cgroup { doing: "remove", path, source });
                }
            }
        }
    }

    fn collect(&self, folder: &Path, processes: &mut Vec<u32>) -> io::Result<()> {
        let text = match fs::read_to_string(folder.join("cgroup.procs")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        for below in folders_in(folder)? {
            self.collect(&below, processes)?;
        }
        Ok(())
    }
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for below in folders_in(folder)? {
        remove_tree(&below)?;
    }
    fs::remove_dir(folder)
}
