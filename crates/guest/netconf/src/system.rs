//! What a reset does to the running system, behind one trait.

use std::future::Future;

use vnode_action::{CancellationToken, ExitStatus, Spec, Stdin};

use crate::kernel::{self, KernelError, State};
use crate::model::Interface;
use crate::nic::Nic;
use crate::render::Program;

/// Most that is kept of what a program prints.
const OUTPUT: usize = 16 * 1024;

/// The running system, as far as a reset acts on it.
pub trait System: Send + Sync {
    /// Runs a program to its end and gives its status; an error is a text that says why there is none.
    fn run(&self, program: &Program) -> impl Future<Output = Result<i32, String>> + Send;

    /// The Ethernet interfaces.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn nics(&self) -> Result<Vec<Nic>, KernelError> {
        kernel::nics()
    }

    /// Addresses and routes of the named interfaces; `None` where there is no kernel to compare with.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn state(&self, names: &[String]) -> Result<Option<State>, KernelError> {
        kernel::read(|name| names.iter().any(|wanted| wanted == name)).map(Some)
    }

    /// Makes an interface what is wanted.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn apply(&self, interface: &Interface) -> Result<(), KernelError> {
        kernel::apply(interface)
    }

    /// Takes the addresses of an interface away that are not in `keep`.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn flush(&self, name: &str, keep: &[ipnet::IpNet]) -> Result<(), KernelError> {
        kernel::flush(name, keep)
    }

    /// The name the kernel has.
    fn hostname(&self) -> Option<String> {
        rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
    }

    /// Gives the kernel another name.
    ///
    /// # Errors
    /// The kernel's answer.
    fn set_hostname(&self, name: &str) -> std::io::Result<()> {
        Ok(rustix::system::sethostname(name.as_bytes())?)
    }

    /// Called at named points between two writes: tests stop here.
    fn point(&self, _name: &str) {}
}

/// The system this program runs in.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealSystem;

impl System for RealSystem {
    async fn run(&self, program: &Program) -> Result<i32, String> {
        let spec = program_spec(program);
        program_status(vnode_action::run(spec, &CancellationToken::new()).await)
    }
}

/// The program as `vnode-action` starts it.
pub fn program_spec(program: &Program) -> Spec {
    let stdin = match program.stdin.is_empty() {
        true => Stdin::Null,
        false => Stdin::Bytes(program.stdin.clone()),
    };
    Spec::new(&program.argv)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(stdin)
        .capture(OUTPUT)
        .grace(std::time::Duration::from_secs(1))
        .time_limit(program.limit)
}

/// The status of a program that ended; what it said goes to the log.
///
/// # Errors
/// A text that says why there is no status.
pub fn program_status(result: vnode_action::Result<vnode_action::Output>) -> Result<i32, String> {
    match result {
        Ok(output) => {
            if !output.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                tracing::warn!(status = %output.status, said = %crate::error::shown(said.trim()), "network program failed");
            }
            Ok(match output.status {
                ExitStatus::Code(code) => code,
                // As shells give it.
                ExitStatus::Signal(signal) => 128 + signal,
            })
        }
        Err(error) => Err(vnode_protocol::chain(&error)),
    }
}
