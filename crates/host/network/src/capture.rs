//! Frames of an interface as a pcap file.

use std::io::{self, Read};
use std::sync::Arc;

use crate::error::not_built;
use crate::{Ns, Result};

/// What to capture.
#[derive(Debug, Clone)]
pub struct CaptureSpec {
    pub interface: String,
    /// Bytes kept of each frame; 0 is all (262,144).
    pub snaplen: u32,
}

/// A running capture. Reading gives a classic pcap file with nanosecond times, file header first; it blocks until there are
/// frames and ends (0 bytes) when a [`Stopper`] says so or the interface goes.
#[derive(Debug)]
pub struct Capture {
    stopper: Stopper,
}

/// Ends a capture from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    _event: Arc<()>,
}

impl Stopper {
    /// Makes the capture's reader return what it has, and then the end.
    pub fn stop(&self) {}
}

/// How many frames were seen and how many were lost because they were not read in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    pub received: u64,
    pub dropped: u64,
}

impl Capture {
    /// Starts to capture in both directions.
    pub fn open(_ns: &Ns, _spec: &CaptureSpec) -> Result<Capture> {
        not_built("capture")
    }

    /// A handle that ends the capture.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Counts since the start.
    pub fn counts(&mut self) -> io::Result<CaptureCounts> {
        Ok(CaptureCounts::default())
    }
}

impl Read for Capture {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}
