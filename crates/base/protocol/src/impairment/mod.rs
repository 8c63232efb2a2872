//! What a link does to the frames one end sends: the model of R-11 (`vnode-lifecycle` 3.6), in normalised units.
//!
//! [`Impairment`] is one direction. `words` reads and writes it as people do (`delay=10ms loss=0.1%
//! rate=100mbit`; `units` has the numbers), the same for the topology file and for `vnode link set`; `compose` puts two
//! stretches of one way together and takes a LAN's declaration apart (section 3.2).

mod compose;
mod units;
mod words;

use serde::{Deserialize, Serialize};

pub use words::{KEYS, ParseError, Warning};

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
    /// Correlation of successive losses, ratio 0..=1.
    pub loss_correlation: f64,
    /// Losses in bursts; `loss` and its correlation are zero then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_model: Option<LossModel>,
    /// Probability that a frame is sent twice.
    pub duplicate: f64,
    /// Correlation of successive duplicates, ratio 0..=1, as those below.
    pub duplicate_correlation: f64,
    /// Probability that a frame overtakes those before it; needs a delay.
    pub reorder: f64,
    pub reorder_correlation: f64,
    /// Probability of one flipped bit in a frame.
    pub corrupt: f64,
    pub corrupt_correlation: f64,
    /// Queue before the bottleneck; `None` is the default of [`Impairment::queue_packets`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// How that queue is kept short; `None` drops at its tail only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aqm: Option<Aqm>,
}

/// Loss in bursts, after Gilbert and Elliott: before each frame the link may go from its good state to its bad one or
/// back, and loses frames with another probability in each. All are ratios 0..=1; the names in brackets are
/// netem's (`tc-netem(8)`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossModel {
    /// Probability of going bad (p).
    pub p: f64,
    /// Probability of going good again (r).
    pub r: f64,
    /// Probability of loss in the bad state (1-h).
    pub loss_in_bad: f64,
    /// Probability of loss in the good state (1-k).
    pub loss_in_good: f64,
}

impl LossModel {
    /// Share of frames lost in the long run.
    pub fn mean(&self) -> f64 {
        let both = self.p + self.r;
        if both == 0.0 {
            return self.loss_in_good; // it begins good, and stays
        }
        (self.p * self.loss_in_bad + self.r * self.loss_in_good) / both
    }
}

/// Active queue management: how the queue before the bottleneck drops before it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aqm {
    /// Random early detection, with the thresholds of NS: a tenth and three tenths of the queue.
    Red,
    Codel,
    FqCodel,
    Pie,
}

impl Aqm {
    pub const ALL: [Self; 4] = [Self::Red, Self::Codel, Self::FqCodel, Self::Pie];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Codel => "codel",
            Self::FqCodel => "fq-codel",
            Self::Pie => "pie",
        }
    }
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

/// Fewest packets a delay line is given.
const LEAST_PACKETS: u64 = 1000;
/// Rate that an unlimited link is taken to carry when its delay line is sized.
const UNLIMITED_BPS: u64 = 10_000_000_000;
/// Most packets a delay line is given, so that one link cannot hold the machine's memory.
const MOST_PACKETS: u64 = 4_000_000;

impl Impairment {
    /// Whether this direction passes every frame at once: no shaper is needed.
    pub fn is_perfect(&self) -> bool {
        self.rate_bps.is_none() && self.needs_netem().is_empty()
    }

    /// Names of the parameters in use that only the kernel's netem can make; a rate and its queue
    /// need none of it.
    pub fn needs_netem(&self) -> Vec<&'static str> {
        let used = [
            ("delay", self.delay_us > 0),
            ("jitter", self.jitter_us > 0),
            ("loss", self.loss > 0.0 || self.loss_model.is_some()),
            ("duplicate", self.duplicate > 0.0),
            ("reorder", self.reorder > 0.0),
            ("corrupt", self.corrupt > 0.0),
        ];
        used.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect()
    }

    /// Packets of at most `mtu_bytes` that the queue before the bottleneck holds: the declared
    /// queue, at least 1, or [`Impairment::delay_line_packets`].
    pub fn queue_packets(&self, mtu_bytes: u32) -> u32 {
        match self.queue {
            Some(Queue::Packets(packets)) => packets.max(1),
            Some(Queue::Bytes(bytes)) => {
                u32::try_from(bytes / u64::from(mtu_bytes.max(1))).unwrap_or(u32::MAX).max(1)
            }
            None => self.delay_line_packets(mtu_bytes),
        }
    }

    /// Packets that may be under way at once without loss of the shaper's own making:
    /// max(1000, 2 × rate × delay / (8 × MTU)), R-11.
    ///
    /// An unlimited rate counts as 10 Gbit/s, and an MTU above 1500 as 1500, because senders need
    /// not fill a large one.
    pub fn delay_line_packets(&self, mtu_bytes: u32) -> u32 {
        let rate = u128::from(self.rate_bps.unwrap_or(UNLIMITED_BPS));
        let delay = u128::from(self.delay_us) + u128::from(self.jitter_us);
        let bits = u128::from(mtu_bytes.clamp(64, 1500)) * 8 * 1_000_000;
        let packets =
            u64::try_from((2 * rate).saturating_mul(delay).div_ceil(bits)).unwrap_or(u64::MAX);
        u32::try_from(packets.clamp(LEAST_PACKETS, MOST_PACKETS)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_link_needs_nothing() {
        let perfect = Impairment::default();
        assert!(perfect.is_perfect());
        assert!(perfect.needs_netem().is_empty());
    }

    #[test]
    fn a_rate_needs_no_netem_and_a_delay_does() {
        let mut link = Impairment { rate_bps: Some(1_000_000), ..Default::default() };
        assert!(!link.is_perfect());
        assert!(link.needs_netem().is_empty());
        link.delay_us = 1;
        link.loss = 0.1;
        assert_eq!(link.needs_netem(), ["delay", "loss"]);
    }

    #[test]
    fn t64_queue_covers_bandwidth_times_delay() {
        let mut link =
            Impairment { rate_bps: Some(1_000_000_000), delay_us: 50_000, ..Default::default() };
        assert_eq!(link.queue_packets(1500), 8334);
        assert_eq!(link.queue_packets(9500), 8334);
        link.rate_bps = Some(1_000_000);
        assert_eq!(link.queue_packets(1500), 1000);
        link.queue = Some(Queue::Packets(10));
        assert_eq!(link.queue_packets(1500), 10);
        link.queue = Some(Queue::Bytes(15_000));
        assert_eq!(link.queue_packets(1500), 10);
        link.queue = Some(Queue::Bytes(1));
        assert_eq!(link.queue_packets(0), 1);
        let extreme = Impairment {
            rate_bps: Some(u64::MAX),
            delay_us: u64::MAX,
            jitter_us: u64::MAX,
            ..Default::default()
        };
        assert_eq!(extreme.queue_packets(0), 4_000_000);
    }
}
