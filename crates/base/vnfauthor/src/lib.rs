//! The verbs for who writes VNF packages: `new`, `lint`, `pack`, `sign`.
//!
//! `vnode vnf` and `vnode-agent vnf` both have them, with the same words and the same results; they need neither a node
//! nor a service. What each does is `vnode_vnfpkg::author`; here are its arguments, and how the outcome reads.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde_json::{Value, json};
use vnode_vnfpkg::{
    Limits, Package, Policy, Problem, Refused, SecretKey, Trust,
    author::{self, AuthorError},
};

/// For who writes packages.
#[derive(Debug, Clone, Subcommand)]
pub enum Author {
    /// Begin a package: a lifecycle.json and three scripts in a new folder
    New {
        folder: PathBuf,
        /// The package's name; default: the folder's, reduced to letters and digits
        #[arg(long)]
        name: Option<String>,
        /// The process to watch
        #[arg(long)]
        process: String,
    },
    /// Check an archive or a folder as the service would
    Lint {
        package: PathBuf,
        /// And that it is signed with a key of this folder
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Pack a folder into an archive, and check it
    Pack {
        folder: PathBuf,
        /// .tar, .tar.gz, .tar.zst, .zip or .csar; default: FOLDER.tar.gz
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write MANIFEST and MANIFEST.sig into a folder, to be packed afterwards; or wrap an archive with its signature
    Sign {
        /// The folder; with --certificate a .zip or .csar
        package: Option<PathBuf>,
        /// The secret key; with --certificate its key, PKCS #8 as PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Make the key first; the public one is written beside it, with the ending .pub
        #[arg(long, conflicts_with = "certificate")]
        new_key: bool,
        /// The signer's certificate, PEM: the archive is wrapped with a CMS signature, as ETSI's second option wants it
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// The outer archive; default: NAME.signed.zip
        #[arg(long, short, value_name = "FILE", requires = "certificate")]
        output: Option<PathBuf>,
    },
}

/// Why a verb is not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The package, or a key, is not as it must be; every problem has a code that stays.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(&'static str),
    /// A folder cannot be read or written.
    #[error(transparent)]
    Folder(AuthorError),
    /// A file cannot be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Nobody takes the result.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

impl From<AuthorError> for Error {
    fn from(error: AuthorError) -> Self {
        match error {
            AuthorError::Refused(refused) => Self::Refused(refused),
            other => Self::Folder(other),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

/// Does one of the verbs, and prints the outcome; `json`: as one line of JSON.
///
/// # Errors
/// Why the package is refused, or what cannot be read or written. Nothing half-made is left but a new key.
pub fn run(verb: Author, out: &mut dyn Write, json: bool) -> Result<(), Error> {
    let value = perform(verb)?;
    let text = if json { value.to_string() } else { shown(&value) };
    writeln!(out, "{}", text.trim_end()).map_err(Error::Print)
}

fn perform(verb: Author) -> Result<Value, Error> {
    Ok(match verb {
        Author::New { folder, name, process } => {
            let base = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name =
                name.unwrap_or_else(|| base.chars().filter(char::is_ascii_alphanumeric).collect());
            author::create(&folder, &name, &process)?;
            json!({ "name": name, "folder": folder })
        }
        Author::Lint { package, keys } => {
            let trust = match keys {
                Some(keys) => Trust::from_folder(Policy::Require, &keys)?,
                None => Trust::default(),
            };
            told(&author::lint(&package, &Limits::default(), &trust)?, None)
        }
        Author::Pack { folder, output } => {
            let output = output.unwrap_or_else(|| folder.with_extension("tar.gz"));
            told(&author::pack(&folder, &output, &Limits::default())?, Some(&output))
        }
        Author::Sign { package, key, certificate: Some(certificate), output, .. } => {
            let archive = package.ok_or(Error::Usage("name the archive to sign"))?;
            let signer = author::Signer::parse(&read(&certificate)?, &read(&key)?)?;
            let output = output.unwrap_or_else(|| archive.with_extension("signed.zip"));
            if output == archive {
                return Err(Error::Usage("the outer archive cannot take the place of the inner"));
            }
            let signed = author::envelop(&archive, &signer, &output, &Limits::default())?;
            told(&signed, Some(&output))
        }
        Author::Sign { package: folder, key, new_key: true, .. } => {
            let secret = SecretKey::generate()?;
            let public = key.with_extension("pub");
            if public == key {
                return Err(Error::Usage("a secret key's name does not end in .pub"));
            }
            // Neither in place of another.
            let write = |path: &Path, mode: u32, text: &str| {
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(mode).open(path);
                let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
                let path = path.to_owned();
                written.map_err(|source| Error::File { doing: "write", path, source })
            };
            write(&key, 0o600, &secret.to_text())?;
            write(&public, 0o644, &secret.public())?;
            if let Some(folder) = folder {
                author::sign(&folder, &secret)?;
            }
            json!({ "key": key, "public": public })
        }
        Author::Sign { package: folder, key, new_key: false, .. } => {
            let secret = SecretKey::parse(&read(&key)?)?;
            let folder = folder.ok_or(Error::Usage("name the folder to sign"))?;
            author::sign(&folder, &secret)?;
            json!({ "signed": folder })
        }
    })
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { doing: "read", path: path.to_owned(), source };
    std::fs::read_to_string(path).map_err(failed)
}

fn told(package: &Package, archive: Option<&Path>) -> Value {
    json!({
        "name": package.descriptor.name, "version": package.descriptor.version, "digest": package.digest,
        "tree_digest": package.tree_digest, "archive": archive, "warnings": package.warnings,
        "signature": package.signature,
        "files": package.files().map(|(path, size)| json!({ "path": path, "size": size })).collect::<Vec<_>>(),
    })
}

/// For people.
fn shown(value: &Value) -> String {
    let mut out = String::new();
    for key in ["name", "version", "archive", "folder", "digest", "key", "public", "signed"] {
        if let Some(word) = value[key].as_str() {
            // A text takes whatever is written to it.
            let _ = writeln!(out, "{key:8} {word}");
        }
    }
    for warning in value["warnings"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "warning  {}", warning.as_str().unwrap_or_default());
    }
    out
}
