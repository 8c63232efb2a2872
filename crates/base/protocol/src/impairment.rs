//! What a link does to the frames one end sends: the model of R-11 (`vnode-lifecycle` 3.6), in normalised units.

use serde::{Deserialize, Serialize};

/// Impairment of one direction of a link, named by its sender. The default is a perfect link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Bits per second; `None` is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// One-way delay, microseconds.
    pub delay_us: u64,
    /// Standard deviation (or half width, see `distribution`) of the delay, microseconds.
    pub jitter_us: u64,
    pub distribution: Distribution,
    /// Correlation of successive delays, ratio 0..=1.
    pub delay_correlation: f64,
    /// Probability that a frame is lost, ratio 0..=1.
    pub loss: f64,
    pub loss_correlation: f64,
    /// Probability that a frame is sent twice.
    pub duplicate: f64,
    /// Probability that a frame overtakes those before it; needs a delay.
    pub reorder: f64,
    /// Probability of one flipped bit in a frame.
    pub corrupt: f64,
    /// Queue before the bottleneck; `None` is the default of [`Impairment::queue_packets`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
}

/// Shape of the jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    #[default]
    Uniform,
    Normal,
}

/// Length of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    Packets(u32),
    Bytes(u64),
}
