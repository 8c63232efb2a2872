//! Shaping of what one end of a link sends.
//!
//! Where the kernel has netem, a shaped interface has `netem` at its root (delay, loss, duplicates, reordering, corruption;
//! a delay line long enough for rate and delay) and, when there is or was a rate, `tbf` below it and a `pfifo` or `bfifo`
//! below that: the queue before the bottleneck. Without netem the root is `tbf`. Handles are always 1: (netem), 2: (tbf),
//! 3: (pfifo), 4: (bfifo), so that a change finds what it changes.
//!
//! A change is one message for each discipline that differs, to the existing discipline: its queue and counters stay. A rate
//! that is taken away becomes one of 1 Tbit/s, because removing a discipline drops what is queued in it.

mod encode;
mod normal;
mod read;
mod shaper;

use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::{Impairment, Queue};

use crate::netlink::Batch;
use crate::{Error, Features, Ns, Result, state};
use encode::{Mode, write_fifo, write_netem, write_tbf};
use read::Tree;
use shaper::Shaper;

/// Which link and end an error is about.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `r1:eth1 -- r2:eth1`
    pub link: &'a str,
    /// `r1:eth1`
    pub end: &'a str,
}

impl Context<'_> {
    fn error(&self, parameter: &str, reason: impl Into<String>) -> Error {
        Error::Impairment {
            link: self.link.into(),
            end: self.end.into(),
            parameter: parameter.into(),
            reason: reason.into(),
        }
    }
}

/// What the kernel holds for one end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// As far as the kernel's queueing disciplines can be said in our terms. The kernel does not tell the distribution of the
    /// jitter: it is always [`vnode_protocol::impairment::Distribution::Uniform`] here.
    pub impairment: Impairment,
    /// Kind of a discipline that is not ours, when somebody replaced ours by it.
    pub foreign: Option<String>,
    /// MTU of the interface, which default queue lengths depend on.
    pub mtu: u32,
    /// Frames the shaper dropped: lost on purpose, or queue full.
    pub drops: u64,
    /// Frames passed.
    pub packets: u64,
    pub bytes: u64,
}

impl Current {
    /// Whether the kernel holds what `declared` asks (T-78): everything the kernel keeps exactly must be equal, ratios to
    /// within the kernel's 32 bits. The distribution cannot be compared.
    pub fn matches(&self, declared: &Impairment) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let (have, want) = (&self.impairment, declared);
        let queue = match (want.rate_bps, want.queue) {
            (None, _) => have.queue.is_none(),
            (Some(_), Some(Queue::Bytes(bytes))) => {
                have.queue == Some(Queue::Bytes(bytes.max(shaper::least_bytes(self.mtu))))
            }
            (Some(_), _) => have.queue == Some(Queue::Packets(want.queue_packets(self.mtu))),
        };
        self.foreign.is_none()
            && queue
            && have.rate_bps.map(|rate| rate / 8) == want.rate_bps.map(|rate| rate / 8)
            && have.delay_us == want.delay_us
            && have.jitter_us == want.jitter_us
            && near(have.delay_correlation, want.delay_correlation)
            && near(have.loss, want.loss)
            && near(have.loss_correlation, want.loss_correlation)
            && near(have.duplicate, want.duplicate)
            && near(have.reorder, want.reorder)
            && near(have.corrupt, want.corrupt)
    }
}

/// Fails where this kernel cannot do what `impairment` asks (T-75), or a value is out of range: call before anything is made.
///
/// # Errors
/// [`Error::Impairment`] with link, end and parameter.
pub fn check(features: &Features, impairment: &Impairment, context: &Context<'_>) -> Result<()> {
    let ratios = [
        ("delay correlation", impairment.delay_correlation),
        ("loss", impairment.loss),
        ("loss correlation", impairment.loss_correlation),
        ("duplicate", impairment.duplicate),
        ("reorder", impairment.reorder),
        ("corrupt", impairment.corrupt),
    ];
    for (name, value) in ratios {
        if !(0.0..=1.0).contains(&value) {
            return Err(context.error(name, format!("{value} is not between 0 and 1")));
        }
    }
    for (name, value) in [("delay", impairment.delay_us), ("jitter", impairment.jitter_us)] {
        if value > shaper::MOST_US {
            return Err(context.error(name, "more than an hour"));
        }
    }
    if let Some(rate) = impairment.rate_bps {
        if !(shaper::LEAST_BPS..=shaper::MOST_BPS).contains(&rate) {
            return Err(context.error("rate", "a rate is between 8 kbit/s and 100 Gbit/s"));
        }
        if !features.tbf {
            let reason = "the kernel has no token bucket filter; load or build sch_tbf";
            return Err(context.error("rate", reason));
        }
    }
    match impairment.needs_netem().first() {
        Some(parameter) if !features.netem => Err(context.error(
            parameter,
            "the kernel has no netem; load or build sch_netem, or ask for a rate only",
        )),
        _ => Ok(()),
    }
}

/// Brings the shaper of `interface` to `impairment`, in place: counters stay, queued frames are not lost, disciplines that do
/// not differ are not touched. A perfect impairment on an interface that was never shaped changes nothing; on another it
/// leaves the shaper in place with nothing to do. Something that is not ours is removed first (repair of drift).
///
/// # Errors
/// As [`check`]; [`Error::NoInterface`]; [`Error::Impairment`] with the kernel's words when it refuses.
pub fn apply(
    ns: &Ns,
    interface: &str,
    impairment: &Impairment,
    context: &Context<'_>,
) -> Result<()> {
    let features = Features::get()?;
    check(&features, impairment, context)?;
    let (index, mtu) = locate(ns, interface)?;
    let want = Shaper::new(impairment, mtu, features.netem);
    let have = Tree::read(ns, index)?;
    let mut plan = Plan::default();
    match &have {
        Tree::Default if impairment.is_perfect() => return Ok(()),
        Tree::Default => {
            // A link that was unshaped until now still sends super-frames; S12.
            ns.plain_frames(interface)?;
            plan.all(index, &want);
        }
        Tree::Ours(have) if have.netem.is_some() == want.netem.is_some() => {
            plan.difference(index, have, &want);
        }
        Tree::Ours(_) | Tree::Foreign(_) => {
            delete_root(&mut plan.batch, index);
            plan.parameters.push("shaper");
            if !impairment.is_perfect() {
                ns.plain_frames(interface)?;
                plan.all(index, &want);
            }
        }
    }
    plan.send(ns, context)
}

/// Shapes an interface that was just made and is still down.
pub(crate) fn install(
    ns: &Ns,
    interface: &str,
    impairment: &Impairment,
    context: &Context<'_>,
) -> Result<()> {
    let (index, mtu) = locate(ns, interface)?;
    let mut plan = Plan::default();
    plan.all(index, &Shaper::new(impairment, mtu, Features::get()?.netem));
    plan.send(ns, context)
}

/// What the kernel holds.
///
/// # Errors
/// [`Error::NoInterface`], or when the kernel cannot be asked.
pub fn read(ns: &Ns, interface: &str) -> Result<Current> {
    let (index, mtu) = locate(ns, interface)?;
    let (tree, counts) = Tree::read_counted(ns, index)?;
    let (impairment, foreign) = match tree {
        Tree::Default => (Impairment::default(), None),
        Tree::Ours(shaper) => (shaper.impairment(), None),
        Tree::Foreign(kind) => (Impairment::default(), Some(kind)),
    };
    let read::Counts { drops, packets, bytes } = counts;
    Ok(Current { impairment, foreign, mtu, drops, packets, bytes })
}

/// Removes the shaper; frames in its queue are lost.
///
/// # Errors
/// [`Error::NoInterface`], [`Error::Refused`].
pub fn clear(ns: &Ns, interface: &str) -> Result<()> {
    let index = ns.need(interface)?;
    let mut batch = Batch::new();
    delete_root(&mut batch, index);
    ns.change(&batch)
}

fn locate(ns: &Ns, interface: &str) -> Result<(u32, u32)> {
    match state::interface(ns, interface)? {
        Some(found) => Ok((found.index, found.mtu)),
        None => Err(Error::NoInterface {
            name: interface.into(),
            place: format!("the network of {}", ns.what()),
        }),
    }
}

fn delete_root(batch: &mut Batch, index: u32) {
    let header = encode::header(index, 0, encode::ROOT);
    batch
        .message(libc::RTM_DELQDISC, 0, &header, "remove the shaper")
        // Only the default discipline is there, which cannot be removed.
        .tolerate(&[libc::ENOENT, libc::EINVAL]);
}

/// Messages of one change, and the parameter each is about.
#[derive(Default)]
struct Plan {
    batch: Batch,
    parameters: Vec<&'static str>,
}

impl Plan {
    fn all(&mut self, index: u32, want: &Shaper) {
        if let Some(netem) = &want.netem {
            write_netem(&mut self.batch, index, netem, Mode::Create);
            self.parameters.push(netem.parameter());
        }
        if let Some(bottleneck) = &want.bottleneck {
            let below = want.netem.is_some();
            write_tbf(&mut self.batch, index, bottleneck, below, Mode::Create);
            self.parameters.push("rate");
            write_fifo(&mut self.batch, index, bottleneck, Mode::Create);
            self.parameters.push("queue");
        }
    }

    fn difference(&mut self, index: u32, have: &Shaper, want: &Shaper) {
        if let (Some(have), Some(want)) = (&have.netem, &want.netem) {
            // The kernel does not tell the distribution, so a jitter is always set again.
            if !have.same(want) || want.jitter_ns > 0 {
                write_netem(&mut self.batch, index, want, Mode::Change);
                self.parameters.push(want.parameter());
            }
        }
        let below = want.netem.is_some();
        match (&have.bottleneck, want.bottleneck.clone()) {
            (None, None) => {}
            (None, Some(want)) => {
                write_tbf(&mut self.batch, index, &want, below, Mode::Create);
                self.parameters.push("rate");
                write_fifo(&mut self.batch, index, &want, Mode::Create);
                self.parameters.push("queue");
            }
            (Some(have), want) => {
                let want = want.unwrap_or_else(|| have.unlimited());
                if *have == want {
                    return;
                }
                write_tbf(&mut self.batch, index, &want, below, Mode::Change);
                self.parameters.push("rate");
                // Changing tbf sets its fifo's limit too; another kind of fifo has to be put in its place.
                if have.queue.kind() != want.queue.kind() {
                    write_fifo(&mut self.batch, index, &want, Mode::Create);
                    self.parameters.push("queue");
                } else if have.queue != want.queue {
                    write_fifo(&mut self.batch, index, &want, Mode::Change);
                    self.parameters.push("queue");
                }
            }
        }
    }

    fn send(self, ns: &Ns, context: &Context<'_>) -> Result<()> {
        match ns.attempt(&self.batch)?.into_iter().next() {
            None => Ok(()),
            Some(failure) => {
                let parameter = failure.index.and_then(|at| self.parameters.get(at));
                let parameter = parameter.copied().unwrap_or("shaper");
                Err(context.error(parameter, failure.refused.to_string()))
            }
        }
    }
}

/// Whether an impairment asks for no shaper at all.
pub(crate) fn is_perfect(impairment: &Impairment) -> bool {
    impairment.is_perfect()
}

/// Tries netem and tbf on the loopback interface of a scratch namespace.
pub(crate) fn probe(ns: &Ns) -> Result<(bool, bool)> {
    let mut works = [false; 2];
    for (at, works) in works.iter_mut().enumerate() {
        let want = Shaper::probe(1500);
        let mut batch = Batch::new();
        match (at, &want) {
            (0, Shaper { netem: Some(netem), .. }) => {
                write_netem(&mut batch, 1, netem, Mode::Create);
            }
            (_, Shaper { bottleneck: Some(bottleneck), .. }) => {
                write_tbf(&mut batch, 1, bottleneck, false, Mode::Create);
            }
            _ => continue,
        }
        *works = ns.attempt(&batch)?.is_empty();
        let mut batch = Batch::new();
        delete_root(&mut batch, 1);
        ns.attempt(&batch)?;
    }
    Ok((works[0], works[1]))
}
