//! From the text of a topology file to a request to the host, for the daemon and for commands that only read.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vnode_lifecycle::request;
use vnode_topology::{Diagnostic, Input, Parsed, Rejected, World};

use crate::error::{Code, Finding, Place, Problem, Related};
use crate::message::Topology;

/// Largest file an `env-files` entry may name, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a topology as the daemon does.
///
/// # Errors
/// [`Code::Topology`] with every finding in `details`.
pub fn parse(topology: &Topology) -> Result<Parsed, Problem> {
    let file = topology.file.as_deref().map_or("topology".into(), |file| file.to_string_lossy());
    // Relative paths have nothing to start from without a base: the file system's root is as good a
    // start as any for paths that are absolute, and no relative one is found by accident there.
    let folder = topology.base.as_deref().unwrap_or(Path::new("/"));
    if !folder.is_absolute() {
        let text = format!("base folder `{}` is not an absolute path", folder.display());
        return Err(Problem::new(Code::Usage, text));
    }
    let input = Input { text: &topology.text, file: &file, folder };
    let world = Given {
        environment: &topology.environment,
        branch: topology.git_branch.as_deref(),
        hash: topology.git_hash.as_deref(),
    };
    vnode_topology::parse(input, &world).map_err(|rejected| refused(&file, rejected))
}

/// A file that was not taken, with every finding in `details`.
#[must_use]
pub fn refused(file: &str, rejected: Rejected) -> Problem {
    let count = match rejected.errors.len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    let first = rejected.errors.first().map(|error| error.text.clone());
    let mut problem =
        Problem::new(Code::Topology, format!("cannot use topology `{file}`: {count}"));
    problem.causes.extend(first);
    problem.details = rejected.errors.into_iter().map(Finding::from).collect();
    problem
}

/// What the host is asked, and the warnings.
pub(crate) async fn request(topology: Topology) -> Result<(request::Up, Vec<String>), Problem> {
    // Reading may touch files and take milliseconds: no work for the runtime's own threads.
    let parsed = tokio::task::spawn_blocking(move || {
        let parsed = parse(&topology)?;
        Ok::<_, Problem>((parsed, topology.file, topology.boot))
    });
    let (parsed, file, boot) =
        parsed.await.map_err(|error| Problem::from_error(Code::Internal, &error))??;
    let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
    Ok((request::Up { lab: parsed.lab, file, boot }, warnings))
}

/// The sender's environment, as far as it sent it, and this machine's files.
struct Given<'a> {
    environment: &'a BTreeMap<String, String>,
    branch: Option<&'a str>,
    hash: Option<&'a str>,
}

impl World for Given<'_> {
    fn env(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn all_env(&self) -> Vec<(String, String)> {
        self.environment.clone().into_iter().collect()
    }

    fn git_branch(&self) -> Option<String> {
        self.branch.map(str::to_owned)
    }

    fn git_hash(&self) -> Option<String> {
        self.hash.map(str::to_owned)
    }

    fn host_name(&self) -> Option<String> {
        Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut text = String::new();
        if file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        Ok(text)
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            file: diagnostic.file,
            text: diagnostic.text,
            hint: diagnostic.hint,
            at: diagnostic.at.map(Place::from),
            also: diagnostic
                .also
                .into_iter()
                .map(|(text, at)| Related { text, at: at.into() })
                .collect(),
        }
    }
}

impl From<vnode_topology::Place> for Place {
    fn from(place: vnode_topology::Place) -> Self {
        let vnode_topology::Place { line, column, width, source } = place;
        Self { line, column, width, source }
    }
}

impl Finding {
    /// The finding as the parser shows it: place, text, source line, caret.
    #[must_use]
    pub fn diagnostic(self) -> Diagnostic {
        let place = |at: Place| vnode_topology::Place {
            line: at.line,
            column: at.column,
            width: at.width,
            source: at.source,
        };
        Diagnostic {
            severity: vnode_topology::Severity::Error,
            text: self.text,
            hint: self.hint,
            file: self.file,
            at: self.at.map(place),
            also: self.also.into_iter().map(|also| (also.text, place(also.at))).collect(),
        }
    }
}

/// The folder of a topology file and the variables it may ask for, from those of the caller.
///
/// A whole environment holds secrets that have nothing to do with a lab: only variables whose names
/// stand in the text go, unless the text asks for all of them with `__IMPORT_ENVS`.
#[must_use]
pub fn mentioned(
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let all = text.contains("__IMPORT_ENVS");
    environment.filter(|(name, _)| all || text.contains(name.as_str())).collect()
}

/// The absolute folder a file lies in.
///
/// # Errors
/// The folder does not exist.
pub fn folder(file: &Path) -> io::Result<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).canonicalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_the_text_names_are_sent() {
        let environment =
            || [("TAG", "1"), ("SECRET", "x")].map(|(a, b)| (a.into(), b.into())).into_iter();
        let sent = mentioned("image: a:${TAG:-2}", environment());
        assert_eq!(sent.keys().collect::<Vec<_>>(), ["TAG"]);
        assert_eq!(mentioned("__IMPORT_ENVS: true", environment()).len(), 2);
    }

    #[test]
    fn a_finding_goes_over_the_wire_and_looks_the_same() {
        let diagnostic = Diagnostic {
            severity: vnode_topology::Severity::Error,
            text: "unknown key `imge`".into(),
            hint: Some("did you mean `image`?".into()),
            file: "lab.clab.yml".into(),
            at: Some(vnode_topology::Place {
                line: 4,
                column: 7,
                width: 4,
                source: "      imge: alpine".into(),
            }),
            also: vec![],
        };
        let json = serde_json::to_string(&Finding::from(diagnostic.clone())).unwrap();
        let finding: Finding = serde_json::from_str(&json).unwrap();
        assert_eq!(finding.diagnostic().to_string(), diagnostic.to_string());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["line"], 4);
    }
}
