//! One program, from begin to end.
use crate::{
    error::{Error, Result},
    output::Output,
    spec::Spec,
};
use tokio_util::sync::CancellationToken;

/// Runs the program to its end.
pub async fn run(spec: Spec, _cancellation: &CancellationToken) -> Result<Output> {
    Err(Error::Spec { program: spec.program(), reason: "not built yet".into() })
}
