//! Random early detection: the kernel wants logarithms and a table of what a user says as thresholds
//! (`linux/pkt_sched.h`, `struct tc_red_qopt`; the sums are those of iproute2's `tc_red.c`).
//!
//! The thresholds are NS's, which Emulab's users know: 5 and 15 packets of a queue of 50, that is a tenth and three tenths;
//! an average that takes a packet up with a weight of about 0.002; a tenth of the packets dropped at the upper threshold.

/// Size of the packet that the average is made for, bytes; NS's default.
const PACKET: u32 = 500;
/// 2^-9 is the weight nearest to 0.002.
const WEIGHT_LOG: u8 = 9;
/// A tenth, as a fraction of 2^32.
pub(super) const MOST_DROPPED: u32 = u32::MAX / 10;

/// What the kernel is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Red {
    /// All three in bytes.
    limit: u32,
    least: u32,
    most: u32,
    probability_log: u8,
    cell_log: u8,
    /// How far the average falls in idle time, in steps of `2^cell_log` microseconds.
    pub(super) idle: [u8; 256],
}

impl Red {
    /// For a queue of `limit` bytes before a bottleneck of `rate` bytes per second.
    pub(super) fn new(limit: u32, rate: u64) -> Red {
        let least = (limit / 10).max(1);
        let most = (limit / 10 * 3).max(least + 1);
        // The probability rises from 0 to a tenth between the thresholds: as 2^-log for each byte.
        let step = 0.1 / f64::from(most - least);
        let probability_log = (0..32u8).find(|log| step * 2f64.powi((*log).into()) > 1.0);
        // The average is halved some hundred times at most; a table entry is a shift of at most 31.
        let packet_us = (f64::from(PACKET) * 1e6 / rate.max(1) as f64).max(1.0);
        let fall = -(1.0 - 1.0 / f64::from(1u32 << WEIGHT_LOG)).ln() / packet_us;
        let longest = 31.0 / fall;
        let cell_log = (0..32u8).find(|log| longest / 2f64.powi((*log).into()) < 512.0);
        let cell_log = cell_log.unwrap_or(31);
        let mut idle = [31; 256];
        idle[0] = 0;
        for (at, shift) in idle.iter_mut().enumerate().take(255).skip(1) {
            let time = at as f64 * 2f64.powi(cell_log.into());
            *shift = (time * fall).min(31.0) as u8;
        }
        Red { limit, least, most, probability_log: probability_log.unwrap_or(31), cell_log, idle }
    }

    /// `struct tc_red_qopt`: limit, qth_min, qth_max, Wlog, Plog, Scell_log, flags.
    pub(super) fn options(&self) -> Vec<u8> {
        let numbers = [self.limit, self.least, self.most];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|value| value.to_ne_bytes()).collect();
        bytes.extend([WEIGHT_LOG, self.probability_log, self.cell_log, 0]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thresholds_are_those_of_ns_and_the_table_rises_to_its_end() {
        let red = Red::new(50 * 1000, 125_000);
        assert_eq!((red.least, red.most), (5_000, 15_000));
        // As `tc` makes it: 0.1 / 10000 has to be doubled 17 times to come above one.
        assert_eq!(red.probability_log, 17);
        assert_eq!(red.options().len(), 16);
        assert!(red.idle.is_sorted());
        assert_eq!((red.idle[0], red.idle[255]), (0, 31));
    }

    #[test]
    fn no_queue_and_no_rate_is_too_small_or_large() {
        for limit in [1, 1522, u32::MAX] {
            for rate in [0, 1_000, 12_500_000_000] {
                let red = Red::new(limit, rate);
                assert!(red.least < red.most && red.probability_log < 32 && red.cell_log < 32);
            }
        }
    }
}
