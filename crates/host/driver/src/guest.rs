//! A node whose agent does what its driver cannot do from outside: programs and files of a virtual machine.

use std::sync::Arc;

use vnode_guest::{ExecSpec as Inside, Guest, Size};

use crate::instance::BoxFuture;
use crate::{Error, Exec, ExecControl, ExecExit, ExecSpec, Reader, Result, WindowSize};

/// An agent's refusal as a driver's, of the node it is in.
pub fn failed(node: &str, source: vnode_guest::Error) -> Error {
    match source {
        vnode_guest::Error::Unsupported { what } => {
            Error::Unsupported { node: node.to_owned(), what }
        }
        source => Error::Guest { node: node.to_owned(), source: Box::new(source) },
    }
}

/// Runs a program by a node's agent.
///
/// # Errors
/// The agent is gone, or its form cannot do what is wanted.
pub async fn exec(node: &str, guest: &Guest, spec: &ExecSpec) -> Result<Exec> {
    let variable = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    let inside = Inside {
        argv: spec.argv.clone(),
        env: spec.env.iter().map(variable).collect(),
        folder: spec.cwd.clone(),
        user: spec.user.clone(),
        terminal: spec.tty.map(|size| Size { rows: size.rows, columns: size.cols }),
        stdin: true,
        time_limit: None,
    };
    let running = guest.exec(inside).await.map_err(|error| failed(node, error))?;
    Ok(of(node, running))
}

/// Attaches to a detached program of a node's agent. Dropping the value leaves it as it is.
///
/// # Errors
/// The agent is gone, or its form has no such programs.
pub async fn attach(
    node: &str,
    guest: &Guest,
    id: &str,
    terminal: Option<WindowSize>,
) -> Result<Exec> {
    let size = terminal.map(|size| Size { rows: size.rows, columns: size.cols });
    let running = guest.attach(id, size).await.map_err(|error| failed(node, error))?;
    Ok(of(node, running))
}

/// A program of an agent's as one of the node's.
fn of(node: &str, mut running: vnode_guest::Exec) -> Exec {
    let (stdin, stdout, stderr) =
        (running.stdin.take(), running.stdout.take(), running.stderr.take());
    let name: Arc<str> = node.into();
    let control = Control { node: Arc::clone(&name), control: running.control() };
    let exit = Box::pin(async move {
        let exit = running.wait().await.map_err(|error| failed(&name, error))?;
        Ok(ExecExit { code: exit.code, signal: exit.signal })
    });
    Exec { stdin, stdout, stderr, control: Arc::new(control), exit, ended: None }
}

/// A file or folder of a node as a tar stream, by its agent.
///
/// # Errors
/// The path is not there, or the agent is gone.
pub async fn archive_out(node: &str, guest: &Guest, path: &str) -> Result<Reader> {
    guest.archive_out(path).await.map_err(|error| at(node, path, error))
}

/// Unpacks a tar stream in a folder of a node, by its agent.
///
/// # Errors
/// The folder is not there, or the agent is gone.
pub async fn archive_in(node: &str, guest: &Guest, path: &str, tar: Reader) -> Result<()> {
    guest.archive_in(path, tar).await.map_err(|error| at(node, path, error))
}

fn at(node: &str, path: &str, error: vnode_guest::Error) -> Error {
    use vnode_guest::{Class, Error as E};
    match &error {
        E::Refused { class: Class::NotFound, .. } => {
            Error::Path { node: node.to_owned(), path: path.to_owned(), what: told(&error) }
        }
        _ => failed(node, error),
    }
}

/// What the agent says, its causes too.
fn told(error: &vnode_guest::Error) -> String {
    match error {
        vnode_guest::Error::Refused { text, causes, .. } => {
            causes.iter().fold(text.clone(), |told, cause| format!("{told}: {cause}"))
        }
        other => other.to_string(),
    }
}

#[derive(Debug)]
struct Control {
    node: Arc<str>,
    control: vnode_guest::Control,
}

impl ExecControl for Control {
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.control.signal(signal).await.map_err(|error| failed(&self.node, error))
        })
    }

    fn resize(&self, size: WindowSize) -> BoxFuture<'_, Result<()>> {
        let size = Size { rows: size.rows, columns: size.cols };
        Box::pin(async move {
            self.control.resize(size).await.map_err(|error| failed(&self.node, error))
        })
    }

    fn lost(&self) -> u64 {
        self.control.lost()
    }
}
