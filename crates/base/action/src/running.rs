//! A program that runs.
use crate::{
    error::{Error, Result},
    output::ExitStatus,
    spec::Spec,
};
pub use rustix::process::Signal;

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {}

impl Running {
    pub fn pid(&self) -> u32 {
        0
    }
    /// Waits for the end. Cancel-safe.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Err(Error::Spec { program: String::new(), reason: "not built yet".into() })
    }
    pub fn signal(&self, _signal: Signal) -> Result<()> {
        Ok(())
    }
    pub fn kill(&self) -> Result<()> {
        Ok(())
    }
}

/// Starts the program.
pub fn spawn(spec: Spec) -> Result<Running> {
    Err(Error::Spec { program: spec.program(), reason: "not built yet".into() })
}

/// Starts a program that outlives us; gives its process id.
pub fn spawn_detached(spec: Spec) -> Result<u32> {
    Err(Error::Spec { program: spec.program(), reason: "not built yet".into() })
}
