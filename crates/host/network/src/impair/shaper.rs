//! The kernel's view of an impairment: whole numbers in the kernel's units, comparable with what it reports.

use vnode_protocol::impairment::{Distribution, Impairment, Queue};

/// Lowest and highest rate, bits per second.
pub(super) const LEAST_BPS: u64 = 8_000;
pub(super) const MOST_BPS: u64 = 100_000_000_000;
/// Longest delay, microseconds: an hour.
pub(super) const MOST_US: u64 = 3_600_000_000;
/// Rate that stands for none, bytes per second (1 Tbit/s).
const UNLIMITED: u64 = 125_000_000_000;
/// Bytes of an Ethernet header and two VLAN tags: a tagged frame must fit the bucket too (T-65).
const FRAME_EXTRA: u32 = 14 + 8;

/// The disciplines of one interface.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shaper {
    pub(super) netem: Option<Netem>,
    pub(super) bottleneck: Option<Bottleneck>,
}

/// `netem`. Ratios are fractions of 2^32 - 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Netem {
    pub(super) delay_ns: u64,
    pub(super) jitter_ns: u64,
    /// Not told by the kernel.
    pub(super) normal: bool,
    /// Packets under way or in the queue below.
    pub(super) limit: u32,
    pub(super) loss: u32,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
    pub(super) corrupt: u32,
    pub(super) delay_correlation: u32,
    pub(super) loss_correlation: u32,
}

/// `tbf` and the queue in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bottleneck {
    /// Bytes per second.
    pub(super) rate: u64,
    /// Depth of the bucket, bytes.
    pub(super) burst: u32,
    pub(super) queue: Fifo,
}

/// Drop-tail queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fifo {
    Packets(u32),
    Bytes(u32),
}

impl Fifo {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Fifo::Packets(_) => "pfifo",
            Fifo::Bytes(_) => "bfifo",
        }
    }

    pub(super) fn limit(self) -> u32 {
        match self {
            Fifo::Packets(limit) | Fifo::Bytes(limit) => limit,
        }
    }
}

/// A queue in bytes holds one frame at least; a shorter one would pass nothing.
pub(super) fn least_bytes(mtu: u32) -> u64 {
    u64::from(mtu + FRAME_EXTRA)
}

fn ratio(value: f64) -> u32 {
    // In range after `check`; the cast saturates anyway.
    (value * f64::from(u32::MAX)).round() as u32
}

fn from_ratio(value: u32) -> f64 {
    f64::from(value) / f64::from(u32::MAX)
}

impl Shaper {
    /// What the kernel is to hold for `impairment` on an interface of this MTU.
    pub(super) fn new(impairment: &Impairment, mtu: u32, has_netem: bool) -> Shaper {
        let bottleneck = impairment.rate_bps.map(|rate_bps| {
            let rate = rate_bps / 8;
            let millisecond = u32::try_from(rate / 1000).unwrap_or(u32::MAX);
            let queue = match impairment.queue {
                Some(Queue::Bytes(bytes)) => {
                    Fifo::Bytes(u32::try_from(bytes.max(least_bytes(mtu))).unwrap_or(u32::MAX))
                }
                _ => Fifo::Packets(impairment.queue_packets(mtu)),
            };
            Bottleneck { rate, burst: millisecond.max(mtu + FRAME_EXTRA), queue }
        });
        let below = match bottleneck.as_ref().map(|bottleneck| bottleneck.queue) {
            None => 0,
            Some(Fifo::Packets(packets)) => packets,
            // Frames can be as small as 64 bytes.
            Some(Fifo::Bytes(bytes)) => bytes / 64,
        };
        let netem = has_netem.then(|| Netem {
            delay_ns: impairment.delay_us * 1000,
            jitter_ns: impairment.jitter_us * 1000,
            normal: impairment.distribution == Distribution::Normal,
            limit: impairment.delay_line_packets(mtu).saturating_add(below),
            loss: ratio(impairment.loss),
            duplicate: ratio(impairment.duplicate),
            reorder: ratio(impairment.reorder),
            corrupt: ratio(impairment.corrupt),
            delay_correlation: ratio(impairment.delay_correlation),
            loss_correlation: ratio(impairment.loss_correlation),
        });
        Shaper { netem, bottleneck }
    }

    /// Something of everything, to see whether the kernel takes it.
    pub(super) fn probe(mtu: u32) -> Shaper {
        let impairment =
            Impairment { rate_bps: Some(1_000_000), delay_us: 1, ..Impairment::default() };
        Shaper::new(&impairment, mtu, true)
    }

    /// Back into our terms.
    pub(super) fn impairment(&self) -> Impairment {
        let netem = self.netem.clone().unwrap_or_default();
        let bottleneck = self.bottleneck.as_ref().filter(|bottleneck| bottleneck.rate < UNLIMITED);
        Impairment {
            rate_bps: bottleneck.map(|bottleneck| bottleneck.rate.saturating_mul(8)),
            delay_us: netem.delay_ns / 1000,
            jitter_us: netem.jitter_ns / 1000,
            distribution: Distribution::Uniform,
            delay_correlation: from_ratio(netem.delay_correlation),
            loss: from_ratio(netem.loss),
            loss_correlation: from_ratio(netem.loss_correlation),
            duplicate: from_ratio(netem.duplicate),
            reorder: from_ratio(netem.reorder),
            corrupt: from_ratio(netem.corrupt),
            queue: bottleneck.map(|bottleneck| match bottleneck.queue {
                Fifo::Packets(packets) => Queue::Packets(packets),
                Fifo::Bytes(bytes) => Queue::Bytes(bytes.into()),
            }),
        }
    }
}

impl Netem {
    /// Equal in all the kernel tells.
    pub(super) fn same(&self, other: &Netem) -> bool {
        let normal = self.normal;
        *self == Netem { normal, ..other.clone() }
    }

    /// The parameter to name when the kernel refuses it all.
    pub(super) fn parameter(&self) -> &'static str {
        let used = [
            ("delay", self.delay_ns > 0),
            ("jitter", self.jitter_ns > 0),
            ("loss", self.loss > 0),
            ("duplicate", self.duplicate > 0),
            ("reorder", self.reorder > 0),
            ("corrupt", self.corrupt > 0),
        ];
        used.into_iter().find(|(_, used)| *used).map_or("delay", |(name, _)| name)
    }
}

impl Bottleneck {
    /// The same queue behind a rate that never holds anything up.
    pub(super) fn unlimited(&self) -> Bottleneck {
        Bottleneck { rate: UNLIMITED, burst: 1 << 28, queue: self.queue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_to_the_kernels_units_and_back() {
        let impairment = Impairment {
            rate_bps: Some(1_000_000),
            delay_us: 51,
            jitter_us: 7,
            loss: 0.01234567,
            duplicate: 1.0,
            reorder: 0.25,
            corrupt: 0.000005,
            loss_correlation: 0.3,
            queue: Some(Queue::Packets(10)),
            ..Impairment::default()
        };
        let back = Shaper::new(&impairment, 1500, true).impairment();
        assert_eq!(back.delay_us, 51);
        assert_eq!(back.rate_bps, Some(1_000_000));
        assert_eq!(back.queue, Some(Queue::Packets(10)));
        assert!((back.loss - impairment.loss).abs() < 1e-9);
        assert!((back.corrupt - impairment.corrupt).abs() < 1e-9);
        assert!((back.duplicate - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_bucket_holds_a_tagged_frame_and_a_millisecond() {
        let burst = |rate_bps| {
            let impairment = Impairment { rate_bps: Some(rate_bps), ..Impairment::default() };
            Shaper::new(&impairment, 1500, false).bottleneck.unwrap().burst
        };
        assert_eq!(burst(8_000), 1522);
        assert_eq!(burst(1_000_000_000), 125_000);
        assert_eq!(burst(MOST_BPS), 12_500_000);
    }

    #[test]
    fn s3_the_delay_line_covers_bandwidth_times_delay_and_the_queue() {
        let impairment = Impairment {
            rate_bps: Some(1_000_000_000),
            delay_us: 50_000,
            queue: Some(Queue::Packets(100)),
            ..Impairment::default()
        };
        let netem = Shaper::new(&impairment, 1500, true).netem.unwrap();
        assert!(netem.limit >= 8334 + 100, "{}", netem.limit);
    }
}
