//! The kernel's view of an impairment: whole numbers in the kernel's units, comparable with what it reports.

use vnode_protocol::impairment::{Aqm, Distribution, Impairment, LossModel, Queue};

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
    /// In the place of `loss`.
    pub(super) bursts: Option<Bursts>,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
    pub(super) corrupt: u32,
    pub(super) delay_correlation: u32,
    pub(super) loss_correlation: u32,
    pub(super) duplicate_correlation: u32,
    pub(super) reorder_correlation: u32,
    pub(super) corrupt_correlation: u32,
}

/// `struct tc_netem_gemodel`: what a user calls 1-h is told to the kernel as h, and 1-k as k1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bursts {
    pub(super) p: u32,
    pub(super) r: u32,
    /// Probability that a frame passes in the bad state.
    pub(super) h: u32,
    /// Probability that a frame is lost in the good state.
    pub(super) k1: u32,
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

/// The queue before the bottleneck, and the most it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fifo {
    /// Drops at its tail only.
    Packets(u32),
    Bytes(u32),
    /// Random early detection counts bytes.
    Red(u32),
    /// These count packets.
    Codel(u32),
    FqCodel(u32),
    Pie(u32),
}

impl Fifo {
    fn new(impairment: &Impairment, mtu: u32) -> Fifo {
        let bytes = |bytes: u64| u32::try_from(bytes.max(least_bytes(mtu))).unwrap_or(u32::MAX);
        let packets = impairment.queue_packets(mtu);
        match (impairment.aqm, impairment.queue) {
            (None, Some(Queue::Bytes(given))) => Fifo::Bytes(bytes(given)),
            (None, _) => Fifo::Packets(packets),
            (Some(Aqm::Red), Some(Queue::Bytes(given))) => Fifo::Red(bytes(given)),
            (Some(Aqm::Red), _) => Fifo::Red(bytes(u64::from(packets) * least_bytes(mtu))),
            (Some(Aqm::Codel), _) => Fifo::Codel(packets),
            (Some(Aqm::FqCodel), _) => Fifo::FqCodel(packets),
            (Some(Aqm::Pie), _) => Fifo::Pie(packets),
        }
    }

    /// A queue of this management, to see whether the kernel has it.
    pub(super) fn sample(aqm: Aqm) -> Fifo {
        let queue = Some(Queue::Packets(50));
        Fifo::new(&Impairment { aqm: Some(aqm), queue, ..Impairment::default() }, 1500)
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Fifo::Packets(_) => "pfifo",
            Fifo::Bytes(_) => "bfifo",
            Fifo::Red(_) => "red",
            Fifo::Codel(_) => "codel",
            Fifo::FqCodel(_) => "fq_codel",
            Fifo::Pie(_) => "pie",
        }
    }

    pub(super) fn limit(self) -> u32 {
        match self {
            Fifo::Packets(limit)
            | Fifo::Bytes(limit)
            | Fifo::Red(limit)
            | Fifo::Codel(limit)
            | Fifo::FqCodel(limit)
            | Fifo::Pie(limit) => limit,
        }
    }

    fn aqm(self) -> Option<Aqm> {
        match self {
            Fifo::Packets(_) | Fifo::Bytes(_) => None,
            Fifo::Red(_) => Some(Aqm::Red),
            Fifo::Codel(_) => Some(Aqm::Codel),
            Fifo::FqCodel(_) => Some(Aqm::FqCodel),
            Fifo::Pie(_) => Some(Aqm::Pie),
        }
    }

    /// The parameter to name when the kernel refuses it.
    pub(super) fn parameter(self) -> &'static str {
        if self.aqm().is_some() { "aqm" } else { "queue" }
    }

    fn queue(self) -> Queue {
        match self {
            Fifo::Bytes(bytes) | Fifo::Red(bytes) => Queue::Bytes(bytes.into()),
            _ => Queue::Packets(self.limit()),
        }
    }

    /// Most packets it can hold; frames can be as small as 64 bytes.
    fn most_packets(self) -> u32 {
        match self {
            Fifo::Bytes(bytes) | Fifo::Red(bytes) => bytes / 64,
            _ => self.limit(),
        }
    }
}

/// Queue and management that `impairment` asks for, as they are read back.
pub(super) fn queue(impairment: &Impairment, mtu: u32) -> (Option<Queue>, Option<Aqm>) {
    match impairment.rate_bps {
        None => (None, None),
        Some(_) => {
            let fifo = Fifo::new(impairment, mtu);
            (Some(fifo.queue()), fifo.aqm())
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
            let queue = Fifo::new(impairment, mtu);
            Bottleneck { rate, burst: millisecond.max(mtu + FRAME_EXTRA), queue }
        });
        let below = bottleneck.as_ref().map_or(0, |bottleneck| bottleneck.queue.most_packets());
        let netem = has_netem.then(|| Netem {
            delay_ns: impairment.delay_us * 1000,
            jitter_ns: impairment.jitter_us * 1000,
            normal: impairment.distribution == Distribution::Normal,
            limit: impairment.delay_line_packets(mtu).saturating_add(below),
            loss: ratio(impairment.loss),
            bursts: impairment.loss_model.as_ref().map(Bursts::new),
            duplicate: ratio(impairment.duplicate),
            reorder: ratio(impairment.reorder),
            corrupt: ratio(impairment.corrupt),
            delay_correlation: ratio(impairment.delay_correlation),
            loss_correlation: ratio(impairment.loss_correlation),
            duplicate_correlation: ratio(impairment.duplicate_correlation),
            reorder_correlation: ratio(impairment.reorder_correlation),
            corrupt_correlation: ratio(impairment.corrupt_correlation),
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
            loss_model: netem.bursts.as_ref().map(Bursts::model),
            duplicate: from_ratio(netem.duplicate),
            duplicate_correlation: from_ratio(netem.duplicate_correlation),
            reorder: from_ratio(netem.reorder),
            reorder_correlation: from_ratio(netem.reorder_correlation),
            corrupt: from_ratio(netem.corrupt),
            corrupt_correlation: from_ratio(netem.corrupt_correlation),
            queue: bottleneck.map(|bottleneck| bottleneck.queue.queue()),
            aqm: bottleneck.and_then(|bottleneck| bottleneck.queue.aqm()),
        }
    }
}

impl Bursts {
    fn new(model: &LossModel) -> Bursts {
        Bursts {
            p: ratio(model.p),
            r: ratio(model.r),
            h: u32::MAX - ratio(model.loss_in_bad),
            k1: ratio(model.loss_in_good),
        }
    }

    fn model(&self) -> LossModel {
        LossModel {
            p: from_ratio(self.p),
            r: from_ratio(self.r),
            loss_in_bad: from_ratio(u32::MAX - self.h),
            loss_in_good: from_ratio(self.k1),
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
            ("loss", self.loss > 0 || self.bursts.is_some()),
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
            duplicate_correlation: 0.5,
            queue: Some(Queue::Packets(10)),
            aqm: Some(Aqm::Pie),
            ..Impairment::default()
        };
        let back = Shaper::new(&impairment, 1500, true).impairment();
        assert_eq!(back.delay_us, 51);
        assert_eq!(back.rate_bps, Some(1_000_000));
        assert_eq!((back.queue, back.aqm), (Some(Queue::Packets(10)), Some(Aqm::Pie)));
        assert!((back.duplicate_correlation - 0.5).abs() < 1e-9);
        assert!((back.loss - impairment.loss).abs() < 1e-9);
        assert!((back.corrupt - impairment.corrupt).abs() < 1e-9);
        assert!((back.duplicate - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_loss_model_is_told_as_the_kernel_has_it() {
        let model = LossModel { p: 0.01, r: 0.1, loss_in_bad: 0.7, loss_in_good: 0.0 };
        let impairment = Impairment { loss_model: Some(model), ..Impairment::default() };
        let netem = Shaper::new(&impairment, 1500, true).netem.unwrap();
        let bursts = netem.bursts.unwrap();
        // 1-h is what a user says; h is what `struct tc_netem_gemodel` holds.
        assert_eq!((bursts.h, bursts.k1), (u32::MAX - ratio(0.7), 0));
        let back = bursts.model();
        assert!((back.loss_in_bad - 0.7).abs() < 1e-9 && (back.p - 0.01).abs() < 1e-9);
    }

    #[test]
    fn red_counts_bytes_and_the_others_packets() {
        let of = |aqm, given| {
            let impairment = Impairment {
                rate_bps: Some(1_000_000),
                queue: Some(given),
                aqm: Some(aqm),
                ..Impairment::default()
            };
            Shaper::new(&impairment, 1500, false).bottleneck.unwrap().queue
        };
        assert_eq!(of(Aqm::Red, Queue::Packets(10)), Fifo::Red(15_220));
        assert_eq!(of(Aqm::Red, Queue::Bytes(5)), Fifo::Red(1522));
        assert_eq!(of(Aqm::Codel, Queue::Bytes(15_000)), Fifo::Codel(10));
        assert_eq!(of(Aqm::FqCodel, Queue::Packets(7)).kind(), "fq_codel");
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
