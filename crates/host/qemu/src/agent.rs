//! The guest's agent as a driver's programs and files.

use std::sync::Arc;

use vnode_driver::{
    BoxFuture, Error, Exec, ExecControl, ExecExit, ExecSpec, Reader, Result, WindowSize,
};
use vnode_guest::{Class, Guest};

/// An agent's refusal as a driver's.
pub(crate) fn error(node: &str, path: &str, error: vnode_guest::Error) -> Error {
    match error {
        vnode_guest::Error::Refused { class: Class::NotFound, text, .. } if !path.is_empty() => {
            Error::Path { node: node.to_owned(), path: path.to_owned(), what: text }
        }
        vnode_guest::Error::Unsupported { what } => {
            Error::Unsupported { node: node.to_owned(), what }
        }
        other => Error::Exec { node: node.to_owned(), step: chain(&other) },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[derive(Debug)]
struct Control {
    node: String,
    inner: vnode_guest::Control,
}

impl ExecControl for Control {
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(
            async move { self.inner.signal(signal).await.map_err(|e| error(&self.node, "", e)) },
        )
    }

    fn resize(&self, size: WindowSize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let size = vnode_guest::Size { rows: size.rows, columns: size.cols };
            self.inner.resize(size).await.map_err(|e| error(&self.node, "", e))
        })
    }
}

/// Runs a program in the guest.
pub(crate) async fn exec(node: &str, guest: &Guest, spec: &ExecSpec) -> Result<Exec> {
    let env = spec.env.iter().map(|assignment| {
        let (name, value) = assignment.split_once('=').unwrap_or((assignment, ""));
        (name.to_owned(), value.to_owned())
    });
    let wanted = vnode_guest::ExecSpec {
        argv: spec.argv.clone(),
        env: env.collect(),
        folder: spec.cwd.clone(),
        user: spec.user.clone(),
        terminal: spec.tty.map(|size| vnode_guest::Size { rows: size.rows, columns: size.cols }),
        stdin: true,
        time_limit: None,
    };
    let mut started = guest.exec(wanted).await.map_err(|e| error(node, "", e))?;
    let control = Arc::new(Control { node: node.to_owned(), inner: started.control() });
    let (stdin, stdout, stderr) =
        (started.stdin.take(), started.stdout.take(), started.stderr.take());
    let node = node.to_owned();
    let exit = async move {
        let exit = started.wait().await.map_err(|e| error(&node, "", e))?;
        Ok(ExecExit { code: exit.code, signal: exit.signal })
    };
    Ok(Exec::new(stdin, stdout, stderr, control, exit))
}

/// A file or folder of the guest as a tar stream.
pub(crate) async fn archive_out(node: &str, guest: &Guest, path: &str) -> Result<Reader> {
    guest.archive_out(path).await.map_err(|e| error(node, path, e))
}
