//! Where the log goes: standard error, or a file of mode 0600 that is opened again on HUP.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Log;

/// The log's file.
#[derive(Debug, Clone)]
pub struct LogFile(Arc<(PathBuf, Mutex<File>)>);

impl LogFile {
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new((path.to_owned(), Mutex::new(open(path)?)))))
    }

    /// Opens the file of that name anew, since it may have been rotated away.
    ///
    /// # Errors
    /// When it cannot be opened; then the old one is written on.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open(&self.0.0)?;
        *self.0.1.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

impl Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = &'a LogFile;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// A level by our name or Python's.
#[must_use]
pub fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "critical" | "fatal" | "error" => LevelFilter::ERROR,
        "warning" | "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" | "notset" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// Begins to log; gives the file, if it is one.
///
/// # Errors
/// When the file cannot be opened or the level is none.
pub fn start(log: &Log) -> io::Result<Option<LogFile>> {
    let name = log.level.as_deref().unwrap_or("info");
    let level = level(name).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("there is no log level `{name}`"))
    })?;
    let file = log.file.as_deref().map(LogFile::open).transpose()?;
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_target(false);
    // A program logs one way; a second start, as in a test, keeps the first.
    let _ = match (&file, log.json) {
        (Some(file), true) => builder.with_writer(file.clone()).json().try_init(),
        (Some(file), false) => builder.with_writer(file.clone()).try_init(),
        (None, true) => builder.with_writer(io::stderr).json().try_init(),
        (None, false) => builder.with_writer(io::stderr).try_init(),
    };
    Ok(file)
}
