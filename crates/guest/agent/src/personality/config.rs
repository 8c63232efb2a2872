//! `qemu-ga.conf`: one group `[general]` of `key=value` lines.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::options::Asked;

const FILE: &str = "/etc/qemu/qemu-ga.conf";
const VIRTIO: &str = "/dev/virtio-ports/org.qemu.guest_agent.0";
const ISA: &str = "/dev/ttyS0";
const HOOK: &str = "/etc/qemu/fsfreeze-hook";
/// Largest file read.
const MOST: u64 = 1 << 20;

/// How the host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    VirtioSerial,
    IsaSerial,
    UnixListen,
    VsockListen,
}

const METHODS: [(&str, Method); 4] = [
    ("virtio-serial", Method::VirtioSerial),
    ("isa-serial", Method::IsaSerial),
    ("unix-listen", Method::UnixListen),
    ("vsock-listen", Method::VsockListen),
];

/// All settings: the file's, and over them the command line's. Lists add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) daemon: bool,
    pub(super) method: Method,
    pub(super) path: Option<String>,
    pub(super) logfile: Option<PathBuf>,
    pub(super) pidfile: PathBuf,
    pub(super) fsfreeze_hook: Option<PathBuf>,
    pub(super) statedir: PathBuf,
    pub(super) verbose: bool,
    pub(super) retry_path: bool,
    /// Lists as they were given.
    pub(super) block: Vec<String>,
    pub(super) allow: Vec<String>,
    method_text: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            daemon: false,
            method: Method::VirtioSerial,
            path: None,
            logfile: None,
            pidfile: PathBuf::from("/var/run/qemu-ga.pid"),
            fsfreeze_hook: None,
            statedir: PathBuf::from("/var/run"),
            verbose: false,
            retry_path: false,
            block: Vec::new(),
            allow: Vec::new(),
            method_text: "virtio-serial".to_owned(),
        }
    }
}

/// The names in lists, which `,` or `;` separates.
pub(super) fn names(lists: &[String]) -> Vec<String> {
    let names = lists.iter().flat_map(|list| list.split([',', ';']));
    names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

impl Config {
    /// Reads the file named, or the usual one; one that is not there says nothing.
    pub(super) fn load(file: Option<&Path>) -> Result<Self, String> {
        use std::io::Read;
        let file = file.unwrap_or(Path::new(FILE));
        let wrong = |why: String| {
            format!("error loading configuration from path: {}, {why}", file.display())
        };
        let mut text = String::new();
        match std::fs::File::open(file) {
            Ok(opened) => {
                opened.take(MOST).read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(wrong(error.to_string())),
        }
        Self::read(&text).map_err(wrong)
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let mut group = None;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                group = Some(name);
                continue;
            }
            let group = group.ok_or("Key file does not start with a group")?;
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("'{line}' is not a key-value pair, group, or comment"))?;
            if group == "general" {
                config.set(key.trim_end(), value.trim_start())?;
            }
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!(
                "Key file contains key '{key}' which has a value that cannot be interpreted."
            )),
        };
        match key {
            "daemon" => self.daemon = truth()?,
            "verbose" => self.verbose = truth()?,
            "retry-path" => self.retry_path = truth()?,
            "method" => self.set_method(value)?,
            "path" => self.path = Some(value.to_owned()),
            "logfile" => self.logfile = Some(value.into()),
            "pidfile" => self.pidfile = value.into(),
            "fsfreeze-hook" => self.fsfreeze_hook = Some(value.into()),
            "statedir" => self.statedir = value.into(),
            "block-rpcs" | "blacklist" => self.block.push(value.to_owned()),
            "allow-rpcs" => self.allow.push(value.to_owned()),
            // Keys of other releases are passed over, as qemu-ga does.
            _ => {}
        }
        Ok(())
    }

    fn set_method(&mut self, text: &str) -> Result<(), String> {
        let known = METHODS.iter().find(|(name, _)| *name == text);
        self.method = known.ok_or_else(|| format!("unsupported channel method/type: {text}"))?.1;
        text.clone_into(&mut self.method_text);
        Ok(())
    }

    /// With what the command line says.
    pub(super) fn with(mut self, asked: &Asked) -> Result<Self, String> {
        if let Some(method) = &asked.method {
            self.set_method(method)?;
        }
        if let Some(path) = &asked.path {
            self.path = Some(path.clone());
        }
        if let Some(file) = &asked.logfile {
            self.logfile = Some(file.into());
        }
        if let Some(file) = &asked.pidfile {
            self.pidfile = file.into();
        }
        if let Some(hook) = &asked.fsfreeze_hook {
            self.fsfreeze_hook = Some(hook.as_deref().unwrap_or(HOOK).into());
        }
        if let Some(folder) = &asked.statedir {
            self.statedir = folder.into();
        }
        self.daemon |= asked.daemon;
        self.verbose |= asked.verbose;
        self.retry_path |= asked.retry_path;
        self.block.extend(asked.block.iter().cloned());
        self.allow.extend(asked.allow.iter().cloned());
        if self.path.is_none() {
            self.path = match self.method {
                Method::VirtioSerial => Some(VIRTIO.to_owned()),
                Method::IsaSerial => Some(ISA.to_owned()),
                Method::UnixListen | Method::VsockListen => None,
            };
        }
        Ok(self)
    }

    /// The settings as a file.
    pub(super) fn dump(&self) -> String {
        let mut text = "[general]\n".to_owned();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{key}={value}").expect("a string takes all");
        };
        line("daemon", &self.daemon);
        line("method", &self.method_text);
        if let Some(path) = &self.path {
            line("path", path);
        }
        if let Some(file) = &self.logfile {
            line("logfile", &file.display());
        }
        line("pidfile", &self.pidfile.display());
        if let Some(hook) = &self.fsfreeze_hook {
            line("fsfreeze-hook", &hook.display());
        }
        line("statedir", &self.statedir.display());
        line("verbose", &self.verbose);
        line("retry-path", &self.retry_path);
        line("block-rpcs", &self.block.join(","));
        line("allow-rpcs", &self.allow.join(","));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_glib_reads_them() {
        let text =
            "# c\n[general]\n\npath = /a b\nverbose=1\nblock-rpcs=x;y\n[other]\nverbose=no\n";
        let config = Config::read(text).unwrap();
        assert_eq!(config.path.as_deref(), Some("/a b"));
        assert!(config.verbose);
        assert_eq!(names(&config.block), ["x", "y"]);
        assert!(Config::read("x=1\n").is_err());
        assert!(Config::read("[general]\nverbose=maybe\n").is_err());
        assert!(Config::read("[general]\nnonsense\n").is_err());
    }
}
