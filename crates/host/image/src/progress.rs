//! How far a pull has come, told to whoever waits for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Finding out what the image consists of.
    #[default]
    Resolving,
    /// Fetching, verifying and unpacking layers, all in one pass.
    Fetching,
    /// Making the layers durable and writing the record.
    Committing,
}

/// A state of a pull; each one replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PullProgress {
    pub phase: Phase,
    /// Packed bytes read so far, of the layers that had to be fetched.
    pub bytes_done: u64,
    /// Packed bytes of the layers that have to be fetched; 0 while unknown.
    pub bytes_total: u64,
    pub layers_done: usize,
    /// Layers of the image, those already in the catalogue included.
    pub layers_total: usize,
}

/// Receives the states of a pull. Called from the task that waits in [`ensure`](crate::Catalogue::ensure), at most
/// some ten times a second; it must not block.
pub trait Progress: Send + Sync {
    fn update(&self, progress: &PullProgress);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _: &PullProgress) {}
}

impl<F: Fn(&PullProgress) + Send + Sync> Progress for F {
    fn update(&self, progress: &PullProgress) {
        self(progress);
    }
}

/// The sending side of a pull's progress.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<watch::Sender<PullProgress>>);

impl Meter {
    pub(crate) fn new() -> (Self, watch::Receiver<PullProgress>) {
        let (sender, receiver) = watch::channel(PullProgress::default());
        (Self(Arc::new(sender)), receiver)
    }

    pub(crate) fn begin(&self, layers: usize, present: usize, bytes: u64) {
        self.0.send_modify(|p| {
            p.phase = Phase::Fetching;
            p.layers_total = layers;
            p.layers_done = present;
            p.bytes_total = bytes;
        });
    }

    pub(crate) fn bytes(&self, more: u64) {
        self.0.send_modify(|p| p.bytes_done += more);
    }

    pub(crate) fn layer_done(&self) {
        self.0.send_modify(|p| p.layers_done += 1);
    }

    pub(crate) fn committing(&self) {
        self.0.send_modify(|p| p.phase = Phase::Committing);
    }
}
