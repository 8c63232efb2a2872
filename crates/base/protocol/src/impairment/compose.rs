//! Composition of impairments: the rules of `vnode-lifecycle` 3.2.

use super::{Distribution, Impairment, LossModel, Queue};

impl Impairment {
    /// One way over two stretches, this one first and `then` after it: delays add, probabilities
    /// combine, the lower rate holds, and the queue is the one before that rate.
    ///
    /// A loss model takes an independent loss up exactly. Of two models the second counts with its mean
    /// only: nothing the kernel has says both, and the topology parser refuses them.
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
        // The management belongs to the queue, and the queue to the slower stretch.
        let second_is_slower = match (self.rate_bps, then.rate_bps) {
            (Some(first), Some(second)) => second < first,
            (first, second) => first.is_none() && second.is_some(),
        };
        let aqm = if second_is_slower { then.aqm.or(self.aqm) } else { self.aqm.or(then.aqm) };
        let (loss, loss_model) = losses(self, then);
        Self {
            rate_bps,
            delay_us: self.delay_us.saturating_add(then.delay_us),
            jitter_us: root_of_squares(self.jitter_us, then.jitter_us),
            distribution: if normal { Distribution::Normal } else { Distribution::Uniform },
            delay_correlation: self.delay_correlation.max(then.delay_correlation),
            loss,
            loss_correlation: match loss_model {
                None => self.loss_correlation.max(then.loss_correlation),
                Some(_) => 0.0,
            },
            loss_model,
            duplicate: either(self.duplicate, then.duplicate),
            duplicate_correlation: self.duplicate_correlation.max(then.duplicate_correlation),
            reorder: either(self.reorder, then.reorder),
            reorder_correlation: self.reorder_correlation.max(then.reorder_correlation),
            corrupt: either(self.corrupt, then.corrupt),
            corrupt_correlation: self.corrupt_correlation.max(then.corrupt_correlation),
            queue,
            aqm,
        }
    }

    /// What each member of a LAN declared with this impairment gets, (to the LAN, from the LAN), so
    /// that any pair of members sees what a link declared with it would show: half the delay,
    /// 1-√(1-p) of each probability, the full rate. The queue and a loss model stand before the LAN only;
    /// the way out takes the default queue.
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
            loss_model: self.loss_model,
            duplicate: root(self.duplicate),
            duplicate_correlation: self.duplicate_correlation,
            reorder: root(self.reorder),
            reorder_correlation: self.reorder_correlation,
            corrupt: root(self.corrupt),
            corrupt_correlation: self.corrupt_correlation,
            queue: self.queue,
            aqm: self.aqm,
        };
        // An odd microsecond goes to the second half, so that the sum is what was declared.
        let from = Self {
            delay_us: self.delay_us - half.delay_us,
            queue: None,
            aqm: None,
            loss_model: None,
            ..half.clone()
        };
        (half, from)
    }
}

/// Independent loss and loss model of two stretches.
fn losses(first: &Impairment, second: &Impairment) -> (f64, Option<LossModel>) {
    let (model, other) = match (first.loss_model, second.loss_model) {
        (None, None) => return (either(first.loss, second.loss), None),
        (Some(model), None) => (model, second.loss),
        (None, Some(model)) => (model, first.loss),
        (Some(model), Some(second)) => (model, second.mean()),
    };
    let model = LossModel {
        loss_in_bad: either(model.loss_in_bad, other),
        loss_in_good: either(model.loss_in_good, other),
        ..model
    };
    (0.0, Some(model))
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
    fn a_loss_model_takes_an_independent_loss_up() {
        let bursts = of("loss=gemodel,1%,10%,50%,0%");
        for whole in [bursts.compose(&of("loss=10%")), of("loss=10%").compose(&bursts)] {
            assert_eq!(whole, of("loss=gemodel,1%,10%,55%,10%"));
        }
        let (to, from) = bursts.halves();
        assert_eq!((to.loss_model, from.loss_model), (bursts.loss_model, None));
        assert_eq!(to.compose(&from), bursts);
    }

    #[test]
    fn the_queues_management_goes_with_the_queue() {
        let managed = of("rate=1mbit queue=10 aqm=codel");
        assert_eq!(managed.compose(&of("rate=10mbit aqm=red")).aqm, managed.aqm);
        assert_eq!(of("rate=10mbit aqm=red").compose(&managed).aqm, managed.aqm);
        assert_eq!(managed.halves().1.aqm, None);
    }

    #[test]
    fn total_loss_stays_total() {
        let (to, _) = of("loss=100%").halves();
        assert_eq!(to.loss, 1.0);
        assert_eq!(to.compose(&of("loss=50%")).loss, 1.0);
    }
}
