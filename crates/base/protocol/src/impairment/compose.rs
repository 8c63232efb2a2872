//! Composition of impairments: the rules of `vnode-lifecycle` 3.2.

use super::{Distribution, Impairment, Queue};

impl Impairment {
    /// One way over two stretches, this one first and `then` after it: delays add, probabilities
    /// combine, the lower rate holds, and the queue is the one before that rate.
    #[must_use]
    pub fn compose(&self, then: &Self) -> Self {
        if *then == Self::default() {
            return self.clone();
        }
        if *self == Self::default() {
            return then.clone();
        }
        let (rate_bps, queue) = match (self.rate_bps, then.rate_bps) {
            (None, None) => (None, shorter(self.queue, then.queue)),
            (Some(first), None) => (Some(first), self.queue.or(then.queue)),
            (None, Some(second)) => (Some(second), then.queue.or(self.queue)),
            (Some(first), Some(second)) if first < second => {
                (Some(first), self.queue.or(then.queue))
            }
            (Some(first), Some(second)) if second < first => {
                (Some(second), then.queue.or(self.queue))
            }
            (Some(same), Some(_)) => (Some(same), shorter(self.queue, then.queue)),
        };
        let normal = [self, then]
            .iter()
            .any(|half| half.jitter_us > 0 && half.distribution == Distribution::Normal);
        Self {
            rate_bps,
            delay_us: self.delay_us.saturating_add(then.delay_us),
            jitter_us: root_of_squares(self.jitter_us, then.jitter_us),
            distribution: if normal { Distribution::Normal } else { Distribution::Uniform },
            delay_correlation: self.delay_correlation.max(then.delay_correlation),
            loss: either(self.loss, then.loss),
            loss_correlation: self.loss_correlation.max(then.loss_correlation),
            duplicate: either(self.duplicate, then.duplicate),
            reorder: either(self.reorder, then.reorder),
            corrupt: either(self.corrupt, then.corrupt),
            queue,
        }
    }

    /// What each member of a LAN declared with this impairment gets, (to the LAN, from the LAN), so
    /// that any pair of members sees what a link declared with it would show: half the delay,
    /// 1-√(1-p) of each probability, the full rate. The queue stands before the LAN only; the way
    /// out takes the default one.
    #[must_use]
    pub fn halves(&self) -> (Self, Self) {
        let half = Self {
            rate_bps: self.rate_bps,
            delay_us: self.delay_us / 2,
            jitter_us: ((self.jitter_us as f64) * std::f64::consts::FRAC_1_SQRT_2).round() as u64,
            distribution: self.distribution,
            delay_correlation: self.delay_correlation,
            loss: root(self.loss),
            loss_correlation: self.loss_correlation,
            duplicate: root(self.duplicate),
            reorder: root(self.reorder),
            corrupt: root(self.corrupt),
            queue: self.queue,
        };
        // An odd microsecond goes to the second half, so that the sum is what was declared.
        let from = Self { delay_us: self.delay_us - half.delay_us, queue: None, ..half.clone() };
        (half, from)
    }
}

/// Jitters of independent stretches add as variances do.
fn root_of_squares(first: u64, second: u64) -> u64 {
    match (first, second) {
        (0, only) | (only, 0) => only,
        (first, second) => (first as f64).hypot(second as f64).round() as u64,
    }
}

/// Probability that at least one of two independent things happens.
fn either(first: f64, second: f64) -> f64 {
    if first == 0.0 {
        return second;
    }
    if second == 0.0 {
        return first;
    }
    tidy(1.0 - (1.0 - first) * (1.0 - second))
}

/// Probability that, twice in a row, makes `whole`.
fn root(whole: f64) -> f64 {
    tidy(1.0 - (1.0 - whole).max(0.0).sqrt())
}

/// Rounds away what floating point adds; the kernel keeps 32 bits of a probability.
fn tidy(ratio: f64) -> f64 {
    ((ratio * 1e12).round() / 1e12).clamp(0.0, 1.0)
}

fn shorter(first: Option<Queue>, second: Option<Queue>) -> Option<Queue> {
    match (first, second) {
        (Some(Queue::Packets(first)), Some(Queue::Packets(second))) => {
            Some(Queue::Packets(first.min(second)))
        }
        (Some(Queue::Bytes(first)), Some(Queue::Bytes(second))) => {
            Some(Queue::Bytes(first.min(second)))
        }
        (first, second) => first.or(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Impairment {
        let mut impairment = Impairment::default();
        for word in words.split_whitespace() {
            impairment.set_word(word).unwrap();
        }
        impairment
    }

    #[test]
    fn t70_two_halves_of_a_lan_make_the_link() {
        let declared = of("rate=100mbit delay=10001us loss=5% jitter=1ms");
        let (to, from) = declared.halves();
        assert_eq!(to.delay_us, 5000);
        assert_eq!(from.delay_us, 5001);
        assert!((to.loss - 0.025_320_565_519).abs() < 1e-9);
        let whole = to.compose(&from);
        assert_eq!(whole.delay_us, declared.delay_us);
        assert_eq!(whole.rate_bps, declared.rate_bps);
        assert!((whole.loss - declared.loss).abs() < 1e-11);
        assert_eq!(whole.jitter_us, 1000);
    }

    #[test]
    fn t71_member_values_are_not_halved() {
        let one = of("delay=10ms");
        let two = of("delay=20ms rate=1mbit");
        assert_eq!(one.compose(&two), of("delay=30ms rate=1mbit"));
    }

    #[test]
    fn the_queue_is_the_one_before_the_bottleneck() {
        let slow = of("rate=1mbit queue=10");
        let fast = of("rate=10mbit queue=99");
        assert_eq!(slow.compose(&fast), slow);
        assert_eq!(fast.compose(&slow), slow);
        assert_eq!(slow.compose(&of("rate=1mbit queue=5")).queue, Some(Queue::Packets(5)));
        assert_eq!(of("queue=7").compose(&of("rate=1kbit")).queue, Some(Queue::Packets(7)));
    }

    #[test]
    fn total_loss_stays_total() {
        let (to, _) = of("loss=100%").halves();
        assert_eq!(to.loss, 1.0);
        assert_eq!(to.compose(&of("loss=50%")).loss, 1.0);
    }
}
