//! Commands of the guest form: those of QEMU's guest agent, with its behaviour and texts.
//!
//! Each file holds one theme and gives its commands as a list of [`Guest`]; what they need of the configuration is
//! [`Options`], the table `[command.guest]`.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Command, CommandError, Form};
use crate::context::{Context, Resource};

mod args;
pub(crate) mod base64;
pub(crate) mod bulk;
mod disks;
mod exec;
mod file;
mod freeze;
mod fsinfo;
mod fstrim;
mod memory;
mod meta;
mod mounts;
mod network;
mod options;
mod osinfo;
mod password;
mod power;
mod route;
mod ssh;
mod state;
mod stats;
mod suspend;
mod time;
mod users;
mod vcpus;

pub(crate) use args::Args;
pub use freeze::thaw_at_start;
pub use meta::VERSION;
pub use options::Options;

/// How a command is run.
enum Run {
    /// At once.
    Now(fn(&Context, Args) -> Result<Value, CommandError>),
    /// It waits for something.
    Later(for<'a> fn(&'a Context, Args) -> BoxFuture<'a, Result<Value, CommandError>>),
}

/// A guest command: a name, what the registry wants to know of it, and a function.
struct Guest {
    name: &'static str,
    run: Run,
    resource: Option<Resource>,
    while_frozen: bool,
    answers_success: bool,
}

impl Guest {
    fn now(name: &'static str, run: fn(&Context, Args) -> Result<Value, CommandError>) -> Self {
        Self {
            name,
            run: Run::Now(run),
            resource: None,
            while_frozen: false,
            answers_success: true,
        }
    }

    fn later(
        name: &'static str,
        run: for<'a> fn(&'a Context, Args) -> BoxFuture<'a, Result<Value, CommandError>>,
    ) -> Self {
        Self { run: Run::Later(run), ..Self::now(name, |_, _| Ok(Value::Null)) }
    }

    fn changes(self, resource: Resource) -> Self {
        Self { resource: Some(resource), ..self }
    }

    fn while_frozen(self) -> Self {
        Self { while_frozen: true, ..self }
    }

    fn silent(self) -> Self {
        Self { answers_success: false, ..self }
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Command for Guest {
    fn name(&self) -> &str {
        self.name
    }

    fn form(&self) -> Form {
        Form::Guest
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        let arguments = match Args::new(value) {
            Ok(arguments) => arguments,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        match self.run {
            Run::Now(run) => Box::pin(std::future::ready(run(context, arguments))),
            Run::Later(run) => run(context, arguments),
        }
    }

    fn resource(&self) -> Option<Resource> {
        self.resource
    }

    fn while_frozen(&self) -> bool {
        self.while_frozen
    }

    fn answers_success(&self) -> bool {
        self.answers_success
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Command>> {
    let themes = [
        meta::commands(),
        time::commands(),
        file::commands(),
        exec::commands(),
        freeze::commands(),
        fstrim::commands(),
        fsinfo::commands(),
        disks::commands(),
        stats::commands(),
        network::commands(),
        route::commands(),
        vcpus::commands(),
        memory::commands(),
        users::commands(),
        osinfo::commands(),
        ssh::commands(),
        password::commands(),
        power::commands(),
        suspend::commands(),
    ];
    themes.into_iter().flatten().map(|command| Box::new(command) as Box<dyn Command>).collect()
}

/// What an error of the kernel means, as the C library words it: `No such file or directory`.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    // std adds ` (os error 2)` to the C library's words.
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The cause of a refused open, in the same words.
fn dir_reason(error: &vnode_beneath::DirError) -> String {
    match error.raw_os_error() {
        Some(number) => reason(&std::io::Error::from_raw_os_error(number)),
        None => error.to_string(),
    }
}

/// Reads a small text file below the root; `None` when it is not there or not readable as text.
fn read_text(context: &Context, path: &str) -> Option<String> {
    const LIMIT: u64 = 1 << 20;
    let bytes = context.root().read_to_limit(path.trim_start_matches('/'), LIMIT).ok()?;
    String::from_utf8(bytes).ok()
}
