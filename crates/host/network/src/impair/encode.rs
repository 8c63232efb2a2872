//! Messages for netem, tbf and the queues in it (`linux/pkt_sched.h`).

use super::shaper::{Bottleneck, Fifo, Netem};
use super::{normal, red};
use crate::netlink::{Batch, Message};

/// `TC_H_ROOT`.
pub(super) const ROOT: u32 = 0xffff_ffff;
/// Our handles, `major:0`.
pub(super) const NETEM: u32 = 1 << 16;
pub(super) const TBF: u32 = 2 << 16;
pub(super) const PFIFO: u32 = 3 << 16;
pub(super) const BFIFO: u32 = 4 << 16;
pub(super) const RED: u32 = 5 << 16;
pub(super) const CODEL: u32 = 6 << 16;
pub(super) const FQ_CODEL: u32 = 7 << 16;
pub(super) const PIE: u32 = 8 << 16;
/// Kernel time unit of old attributes: 64 ns.
const TICK_NS: u64 = 64;

/// Whether the discipline is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Put it in the place of whatever is there.
    Create,
    /// Change the one with our handle; its queue and counters stay.
    Change,
}

impl Mode {
    fn flags(self) -> i32 {
        match self {
            Mode::Create => libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
            Mode::Change => 0,
        }
    }
}

/// `struct tcmsg`.
pub(super) fn header(index: u32, handle: u32, parent: u32) -> [u8; 20] {
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&handle.to_ne_bytes());
    header[12..16].copy_from_slice(&parent.to_ne_bytes());
    header
}

fn discipline<'a>(
    batch: &'a mut Batch,
    index: u32,
    handle: u32,
    parent: u32,
    mode: Mode,
    kind: &str,
) -> Message<'a> {
    let header = header(index, handle, parent);
    let what = format!("set the {kind} discipline");
    let mut message = batch.message(libc::RTM_NEWQDISC, mode.flags(), &header, what);
    message.text(libc::TCA_KIND, kind);
    message
}

/// Numbers one after the other, as C structures of equal members have them.
fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// `netem` at the root. All parameters are always given: those left out would keep their old values.
pub(super) fn write_netem(batch: &mut Batch, index: u32, netem: &Netem, mode: Mode) {
    let ticks = |ns: u64| u32::try_from(ns / TICK_NS).unwrap_or(u32::MAX);
    let gap = u32::from(netem.reorder > 0);
    // struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter. The times are rounded; those below count.
    let options = numbers(&[
        ticks(netem.delay_ns),
        netem.limit,
        netem.loss,
        gap,
        netem.duplicate,
        ticks(netem.jitter_ns),
    ]);
    let correlations =
        numbers(&[netem.delay_correlation, netem.loss_correlation, netem.duplicate_correlation]);
    let mut message = discipline(batch, index, NETEM, ROOT, mode, "netem");
    message.nest_after(libc::TCA_OPTIONS, &options, |data| {
        data.bytes(1, &correlations) // TCA_NETEM_CORR
            .bytes(3, &numbers(&[netem.reorder, netem.reorder_correlation])) // TCA_NETEM_REORDER
            .bytes(4, &numbers(&[netem.corrupt, netem.corrupt_correlation])) // TCA_NETEM_CORRUPT
            .u64(10, netem.delay_ns) // TCA_NETEM_LATENCY64
            .u64(11, netem.jitter_ns); // TCA_NETEM_JITTER64
        if let Some(bursts) = &netem.bursts {
            let model = numbers(&[bursts.p, bursts.r, bursts.h, bursts.k1]);
            // TCA_NETEM_LOSS with NETEM_LOSS_GE; without it the kernel goes back to independent losses.
            data.nest(5, |loss| {
                loss.bytes(2, &model);
            });
        }
        if netem.jitter_ns > 0 {
            let table = if netem.normal { normal::normal() } else { normal::uniform() };
            data.bytes(2, &table); // TCA_NETEM_DELAY_DIST
        }
    });
}

/// `tbf` below netem, or at the root.
pub(super) fn write_tbf(
    batch: &mut Batch,
    index: u32,
    bottleneck: &Bottleneck,
    below_netem: bool,
    mode: Mode,
) {
    let parent = if below_netem { NETEM | 1 } else { ROOT };
    let rate32 = u32::try_from(bottleneck.rate).unwrap_or(u32::MAX);
    let bucket_ns = u64::from(bottleneck.burst) * 1_000_000_000 / bottleneck.rate.max(1);
    let bucket = u32::try_from(bucket_ns / TICK_NS).unwrap_or(u32::MAX);
    // struct tc_tbf_qopt: two struct tc_ratespec (cell_log, linklayer = Ethernet, overhead, cell_align, mpu, rate), limit,
    // buffer, mtu. With a link layer given the kernel wants no rate table. Its limit is what a change gives the fifo.
    let mut options = vec![0; 36];
    options[1] = 1;
    options[8..12].copy_from_slice(&rate32.to_ne_bytes());
    options[24..28].copy_from_slice(&bottleneck.queue.limit().to_ne_bytes());
    options[28..32].copy_from_slice(&bucket.to_ne_bytes());
    let mut message = discipline(batch, index, TBF, parent, mode, "tbf");
    message.nest(libc::TCA_OPTIONS, |data| {
        data.bytes(1, &options).u32(6, bottleneck.burst); // TCA_TBF_PARMS, TCA_TBF_BURST
        if bottleneck.rate > u64::from(u32::MAX) {
            data.u64(4, bottleneck.rate); // TCA_TBF_RATE64
        }
    });
}

/// Handle of the queue in `tbf`.
pub(super) fn queue_handle(queue: Fifo) -> u32 {
    match queue {
        Fifo::Packets(_) => PFIFO,
        Fifo::Bytes(_) => BFIFO,
        Fifo::Red(_) => RED,
        Fifo::Codel(_) => CODEL,
        Fifo::FqCodel(_) => FQ_CODEL,
        Fifo::Pie(_) => PIE,
    }
}

/// The queue in `tbf`, or at the root. What is not said of a managed queue is the kernel's default.
pub(super) fn write_queue(
    batch: &mut Batch,
    index: u32,
    bottleneck: &Bottleneck,
    parent: u32,
    mode: Mode,
) {
    let queue = bottleneck.queue;
    let limit = queue.limit();
    let mut message = discipline(batch, index, queue_handle(queue), parent, mode, queue.kind());
    match queue {
        Fifo::Packets(_) | Fifo::Bytes(_) => {
            message.bytes(libc::TCA_OPTIONS, &numbers(&[limit]));
        }
        // TCA_CODEL_LIMIT, TCA_FQ_CODEL_LIMIT, TCA_PIE_LIMIT.
        Fifo::Codel(_) | Fifo::FqCodel(_) | Fifo::Pie(_) => {
            message.nest(libc::TCA_OPTIONS, |data| {
                data.u32(2, limit);
            });
        }
        Fifo::Red(_) => {
            let red = red::Red::new(limit, bottleneck.rate);
            message.nest(libc::TCA_OPTIONS, |data| {
                // TCA_RED_PARMS, TCA_RED_STAB, TCA_RED_MAX_P
                data.bytes(1, &red.options()).bytes(2, &red.idle).u32(3, red::MOST_DROPPED);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shaper::Bursts;
    use super::*;
    use crate::impair::read;
    use crate::netlink::{Attributes, Messages, find};

    #[test]
    fn a_netem_message_has_the_kernels_layout_and_reads_back() {
        let netem = Netem {
            delay_ns: 400_000,
            jitter_ns: 50_000,
            normal: false,
            limit: 1000,
            loss: 0,
            duplicate: 2,
            reorder: 3,
            corrupt: 4,
            delay_correlation: 5,
            loss_correlation: 6,
            duplicate_correlation: 7,
            reorder_correlation: 8,
            corrupt_correlation: 9,
            bursts: Some(Bursts { p: 10, r: 11, h: 12, k1: 13 }),
        };
        let mut batch = Batch::new();
        write_netem(&mut batch, 9, &netem, Mode::Create);
        let (header, body) = Messages::new(batch.bytes()).next().unwrap();
        assert_eq!(header.kind, libc::RTM_NEWQDISC);
        assert_eq!(&body[..16], numbers(&[0, 9, 0x1_0000, 0xffff_ffff]));
        let options = find(Attributes::after(body, 20), libc::TCA_OPTIONS).unwrap();
        // 400 us and 50 us in ticks of 64 ns, a gap because of the reordering.
        assert_eq!(&options[..24], numbers(&[6250, 1000, 0, 1, 2, 781]));
        let table = find(Attributes::after(options, 24), 2).unwrap();
        assert_eq!(table.len(), 8192);
        assert_eq!(read::parse_netem(options), Some(netem));
    }

    #[test]
    fn managed_queues_are_told_their_limit_and_red_its_thresholds() {
        for queue in [Fifo::Codel(9), Fifo::FqCodel(9), Fifo::Pie(9), Fifo::Red(30_000)] {
            let bottleneck = Bottleneck { rate: 125_000, burst: 1522, queue };
            let mut batch = Batch::new();
            write_queue(&mut batch, 9, &bottleneck, TBF | 1, Mode::Create);
            let (_, body) = Messages::new(batch.bytes()).next().unwrap();
            assert_eq!(&body[8..16], numbers(&[queue_handle(queue), 0x2_0001]));
            let options = find(Attributes::after(body, 20), libc::TCA_OPTIONS).unwrap();
            assert_eq!(read::queue_limit(queue.kind(), options), Some(queue));
        }
    }

    #[test]
    fn a_change_names_the_discipline_it_changes_and_creates_nothing() {
        let bottleneck =
            Bottleneck { rate: 12_500_000_000, burst: 12_500_000, queue: Fifo::Packets(7) };
        let mut batch = Batch::new();
        write_tbf(&mut batch, 9, &bottleneck, true, Mode::Change);
        write_queue(&mut batch, 9, &bottleneck, TBF | 1, Mode::Change);
        let messages: Vec<_> = Messages::new(batch.bytes()).collect();
        assert_eq!(&messages[0].1[8..16], numbers(&[0x2_0000, 0x1_0001]));
        assert_eq!(&messages[1].1[8..16], numbers(&[0x3_0000, 0x2_0001]));
        for (header, _) in &messages {
            assert_eq!(i32::from(header.flags), libc::NLM_F_REQUEST);
        }
        let options = find(Attributes::after(messages[0].1, 20), libc::TCA_OPTIONS).unwrap();
        let rate = find(Attributes::new(options), 4).unwrap();
        assert_eq!(rate, 12_500_000_000u64.to_ne_bytes());
    }
}
