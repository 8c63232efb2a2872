//! Asking the service of a state folder.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::Value;

use crate::{error::Failure, service::socket, verbs::Request};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("no service at `{0}`; `vnode-agent vnf serve --detach` starts one")]
    NoService(String),
    #[error(transparent)]
    Refused(#[from] Failure),
    #[error("the service went away")]
    Gone(#[source] io::Error),
}

/// Asks, and joins the service with standard input and output, until the service ends it. Blocks.
pub(crate) fn join(state: &Path, request: &Request) -> Result<(), ClientError> {
    let mut stream = connect(state, request)?;
    let mut to = stream.try_clone().map_err(ClientError::Gone)?;
    let told = std::thread::Builder::new().name("told".to_owned()).spawn(move || {
        // Either end may go first: then the other is told that no more comes.
        let _ = pass(&mut std::io::stdin().lock(), &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    told.map_err(ClientError::Gone)?;
    pass(&mut stream, &mut std::io::stdout().lock()).map_err(ClientError::Gone)
}

/// Passes on what comes when it comes.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read]).and_then(|()| to.flush())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn connect(state: &Path, request: &Request) -> Result<UnixStream, ClientError> {
    let path = socket(state);
    let mut stream = UnixStream::connect(&path)
        .map_err(|_| ClientError::NoService(path.display().to_string()))?;
    let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Gone(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(ClientError::Gone)?;
    Ok(stream)
}

/// Asks, and gives the result. `body` is sent after the request: the package of a `push`, of so many bytes. `item` gets
/// each piece of a longer answer, and ends it by false. Blocks.
///
/// # Errors
/// When there is no service, it refuses, or it goes away.
pub fn ask(
    state: &Path,
    request: &Request,
    body: Option<(File, u64)>,
    mut item: impl FnMut(Value) -> bool,
) -> Result<Value, ClientError> {
    let mut stream = connect(state, request)?;
    if let Some((file, length)) = body {
        // A refusal may come before all is sent, and is worth more than the broken pipe.
        let _ = io::copy(&mut file.take(length), &mut stream);
    }
    for line in BufReader::new(stream).lines() {
        let mut value: Value = serde_json::from_str(&line.map_err(ClientError::Gone)?)
            .map_err(|error| ClientError::Gone(error.into()))?;
        if let Some(piece) = value.get_mut("item") {
            if !item(piece.take()) {
                return Ok(Value::Null);
            }
        } else if let Some(result) = value.get_mut("result") {
            return Ok(result.take());
        } else if let Some(error) = value.get_mut("error") {
            let failure: Failure = serde_json::from_value(error.take())
                .map_err(|error| ClientError::Gone(error.into()))?;
            return Err(failure.into());
        }
    }
    Err(ClientError::Gone(io::ErrorKind::UnexpectedEof.into()))
}
