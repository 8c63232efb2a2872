//! The verbs of `vnode-agent vnf`.

mod args;
mod serve;
mod show;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde_json::{Value, json};
use vnode_vnfpkg::{Limits, Package, SecretKey, Trust, author};

pub use args::{Args, Author, STATE, Serve, Verb};

use crate::{
    client::{self, ClientError},
    error::Failure,
    verbs::Request,
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_SERVICE: u8 = 3;

/// Does what the command line says. Results on standard output, errors on standard error. Exit codes: 0 done, 1 refused
/// or failed, 2 usage, 3 no service.
pub fn run(args: Args) -> u8 {
    let json = args.json;
    match perform(args) {
        Ok(code) => code,
        Err(error) => {
            let (code, failure) = match error {
                ClientError::Refused(failure) => {
                    (if failure.code == "usage" { USAGE } else { FAILED }, failure)
                }
                other => {
                    let code = if matches!(other, ClientError::NoService(_)) {
                        NO_SERVICE
                    } else {
                        FAILED
                    };
                    let mut failure = Failure::internal("ask", &other);
                    if code == NO_SERVICE {
                        failure = Failure {
                            code: "no-service".to_owned(),
                            detail: other.to_string(),
                            ..failure
                        };
                    }
                    (code, failure)
                }
            };
            if json {
                eprintln!("{}", json!(failure));
            } else {
                eprintln!("vnode-agent vnf: {}", failure.detail);
            }
            code
        }
    }
}

/// Does one of the verbs for who writes packages; the same on a host as in a guest.
///
/// # Errors
/// Why the package is refused, or what cannot be read or written.
pub fn author(verb: Author, out: &mut dyn Write, json: bool) -> Result<(), Failure> {
    let failed = |error: author::AuthorError| match error {
        author::AuthorError::Refused(refused) => refused.into(),
        other => Failure::internal("do it", &other),
    };
    let told = |package: &Package, archive: Option<&Path>| {
        json!({
            "name": package.descriptor.name, "version": package.descriptor.version, "digest": package.digest,
            "tree_digest": package.tree_digest, "archive": archive, "warnings": package.warnings,
            "signature": package.signature,
            "files": package.files().map(|(path, size)| json!({ "path": path, "size": size })).collect::<Vec<_>>(),
        })
    };
    let value = match verb {
        Author::New { folder, name, process } => {
            let base = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name =
                name.unwrap_or_else(|| base.chars().filter(char::is_ascii_alphanumeric).collect());
            author::create(&folder, &name, &process).map_err(failed)?;
            json!({ "name": name, "folder": folder })
        }
        Author::Lint { package, keys } => {
            let trust = match keys {
                Some(keys) => Trust::from_folder(vnode_vnfpkg::Policy::Require, &keys)?,
                None => Trust::default(),
            };
            let package = author::lint(&package, &Limits::default(), &trust).map_err(failed)?;
            told(&package, None)
        }
        Author::Pack { folder, output } => {
            let output = output.unwrap_or_else(|| folder.with_extension("tar.gz"));
            let package = author::pack(&folder, &output, &Limits::default()).map_err(failed)?;
            told(&package, Some(&output))
        }
        Author::Sign { folder, key, new_key: true } => {
            let secret = SecretKey::generate()?;
            let public = key.with_extension("pub");
            let io =
                |error: io::Error| Failure::internal(&format!("write `{}`", key.display()), &error);
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
            options
                .open(&key)
                .and_then(|mut file| file.write_all(secret.to_text().as_bytes()))
                .map_err(io)?;
            std::fs::write(&public, secret.public()).map_err(io)?;
            if let Some(folder) = folder {
                author::sign(&folder, &secret).map_err(failed)?;
            }
            json!({ "key": key, "public": public })
        }
        Author::Sign { folder, key, new_key: false } => {
            let text = std::fs::read_to_string(&key)
                .map_err(|error| Failure::internal(&format!("read `{}`", key.display()), &error))?;
            let secret = SecretKey::parse(&text)?;
            let folder = folder.ok_or_else(|| usage("name the folder to sign"))?;
            author::sign(&folder, &secret).map_err(failed)?;
            json!({ "signed": folder })
        }
    };
    let text = if json { value.to_string() } else { show::package(&value) };
    writeln!(out, "{}", text.trim_end()).map_err(|error| Failure::internal("print", &error))
}

fn usage(text: &str) -> Failure {
    Failure { code: "usage".to_owned(), ..Failure::invalid(text) }
}

/// An archive on standard input goes to a file without a name first: its length must be told before it.
fn archive(path: &Path) -> Result<(File, u64), Failure> {
    let failed =
        |error: io::Error| Failure::internal(&format!("read `{}`", path.display()), &error);
    let mut file = if path == Path::new("-") {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let folder = std::env::temp_dir();
        let held = rustix::fs::open(&folder, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed(error.into()))?;
        let mut file = File::from(held);
        // One more than a service takes: it is the one that refuses.
        io::copy(&mut io::stdin().lock().take((256 << 20) + 1), &mut file).map_err(failed)?;
        file
    } else {
        File::open(path).map_err(failed)?
    };
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok((file, length))
}

fn perform(args: Args) -> Result<u8, ClientError> {
    let (state, json) = (args.state_dir, args.json);
    let print = |text: String| {
        // Who reads no more wants no more.
        let _ = writeln!(io::stdout(), "{}", text.trim_end());
    };
    let (request, body) = match args.verb {
        Verb::Author(verb) => {
            author(verb, &mut io::stdout(), json)?;
            return Ok(0);
        }
        Verb::Serve(options) => return Ok(serve::run(&state, options)?),
        Verb::Schema => {
            print(vnode_vnfpkg::SCHEMA.to_owned());
            return Ok(0);
        }
        Verb::Push { archive: path, instantiate } => {
            let (file, length) = archive(&path)?;
            (Request::Push { length, instantiate }, Some((file, length)))
        }
        verb => (args::request(verb).ok_or_else(|| usage("no request"))?, None),
    };
    let mut open = true;
    let many = matches!(request, Request::Logs { .. } | Request::Events { .. });
    let result = client::ask(&state, &request, body, |item| {
        let text = if json { item.to_string() } else { show::item(&item) };
        open = writeln!(io::stdout(), "{}", text.trim_end_matches('\n')).is_ok();
        open
    })?;
    if !many {
        print(if json { result.to_string() } else { show::result(&request, &result) });
    } else if let Value::Null = result {
        return Ok(0);
    }
    Ok(0)
}
