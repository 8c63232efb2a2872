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
use vnode_vnfauthor::Author;

pub use args::{Args, STATE, Serve, Verb};

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

/// Does one of the verbs for who writes packages.
fn author(verb: Author, json: bool) -> Result<(), Failure> {
    use vnode_vnfauthor::Error;
    vnode_vnfauthor::run(verb, &mut io::stdout(), json).map_err(|error| match error {
        Error::Refused(refused) => refused.into(),
        Error::Usage(text) => usage(text),
        error => Failure::internal("do it", &error),
    })
}

fn usage(text: &str) -> Failure {
    Failure { code: "usage".to_owned(), ..Failure::invalid(text) }
}

/// An archive on standard input goes to a file without a name first: its length must be told before it.
fn archive(path: &Path) -> Result<(File, u64), Failure> {
    let failed =
        |error: io::Error| Failure::internal(&format!("read `{}`", path.display()), &error);
    let mut file = if path == Path::new("-") {
        let mut file = crate::tree::nameless(&std::env::temp_dir()).map_err(failed)?;
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
            author(verb, json)?;
            return Ok(0);
        }
        Verb::Serve(options) => return Ok(serve::run(&state, options)?),
        Verb::Schema => {
            print(vnode_vnfpkg::SCHEMA.to_owned());
            return Ok(0);
        }
        verb @ Verb::Attend { .. } => {
            let request = args::request(verb).ok_or_else(|| usage("no request"))?;
            client::join(&state, &request)?;
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
