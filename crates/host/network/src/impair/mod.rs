//! Shaping of what one end of a link sends.
//!
//! Where the kernel has netem, a shaped interface has `netem` at its root (delay, loss, duplicates, reordering, corruption;
//! a delay line long enough for rate and delay) and, when there is or was a rate, `tbf` below it and a `pfifo` or `bfifo`
//! (or `red`, `codel`, `fq_codel`, `pie`) below that: the queue before the bottleneck. Without netem the root is `tbf`. Handles
//! are always 1: (netem), 2: (tbf), 3: (pfifo), 4: (bfifo), 5: to 8: (the managed queues), so that a change finds what it
//! changes.
//!
//! A change is one message for each discipline that differs, to the existing discipline: its queue and counters stay. A rate
//! that is taken away becomes one of 1 Tbit/s, because removing a discipline drops what is queued in it.

mod encode;
mod normal;
mod read;
mod red;
mod shaper;

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::{Aqm, Impairment};

use crate::netlink::Batch;
use crate::{Error, Features, Ns, Result, state};
use encode::{Mode, TBF, write_netem, write_queue, write_tbf};
use read::Tree;
use shaper::{Bottleneck, Fifo, Shaper};

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
        let model = match (&have.loss_model, &want.loss_model) {
            (Some(have), Some(want)) => {
                near(have.p, want.p)
                    && near(have.r, want.r)
                    && near(have.loss_in_bad, want.loss_in_bad)
                    && near(have.loss_in_good, want.loss_in_good)
            }
            (have, want) => have.is_none() && want.is_none(),
        };
        self.foreign.is_none()
            && (have.queue, have.aqm) == shaper::queue(want, self.mtu)
            && model
            && have.rate_bps.map(|rate| rate / 8) == want.rate_bps.map(|rate| rate / 8)
            && have.delay_us == want.delay_us
            && have.jitter_us == want.jitter_us
            && near(have.delay_correlation, want.delay_correlation)
            && near(have.loss, want.loss)
            && near(have.loss_correlation, want.loss_correlation)
            && near(have.duplicate, want.duplicate)
            && near(have.reorder, want.reorder)
            && near(have.corrupt, want.corrupt)
            && near(have.duplicate_correlation, want.duplicate_correlation)
            && near(have.reorder_correlation, want.reorder_correlation)
            && near(have.corrupt_correlation, want.corrupt_correlation)
    }
}

/// Fails where this kernel cannot do what `impairment` asks (T-75), or a value is out of range: call before anything is made.
///
/// # Errors
/// [`Error::Impairment`] with link, end and parameter.
pub fn check(features: &Features, impairment: &Impairment, context: &Context<'_>) -> Result<()> {
    let ratios = [
        ("delay-correlation", impairment.delay_correlation),
        ("loss", impairment.loss),
        ("loss-correlation", impairment.loss_correlation),
        ("duplicate", impairment.duplicate),
        ("duplicate-correlation", impairment.duplicate_correlation),
        ("reorder", impairment.reorder),
        ("reorder-correlation", impairment.reorder_correlation),
        ("corrupt", impairment.corrupt),
        ("corrupt-correlation", impairment.corrupt_correlation),
    ];
    let model = impairment.loss_model.iter();
    let model = model.flat_map(|m| [m.p, m.r, m.loss_in_bad, m.loss_in_good]);
    for (name, value) in ratios.into_iter().chain(model.map(|value| ("loss", value))) {
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
    if let Some(aqm) = impairment.aqm.filter(|_| impairment.rate_bps.is_some())
        && !has_aqm(aqm)?
    {
        let kind = Fifo::sample(aqm).kind();
        let reason = format!(
            "the kernel has no {kind}; load or build sch_{kind}, or leave `aqm` out for a queue that drops at its tail"
        );
        return Err(context.error("aqm", reason));
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
            self.queue(index, bottleneck, Mode::Create);
        }
    }

    fn queue(&mut self, index: u32, bottleneck: &Bottleneck, mode: Mode) {
        write_queue(&mut self.batch, index, bottleneck, TBF | 1, mode);
        self.parameters.push(bottleneck.queue.parameter());
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
                self.queue(index, &want, Mode::Create);
            }
            (Some(have), want) => {
                let want = want.unwrap_or_else(|| have.unlimited());
                if *have == want {
                    return;
                }
                write_tbf(&mut self.batch, index, &want, below, Mode::Change);
                self.parameters.push("rate");
                // Changing tbf sets its fifo's limit too; another kind of queue has to be put in its place. What red is
                // told depends on the rate.
                let red = matches!(want.queue, Fifo::Red(_)) && have.rate != want.rate;
                if have.queue.kind() != want.queue.kind() {
                    self.queue(index, &want, Mode::Create);
                } else if have.queue != want.queue || red {
                    self.queue(index, &want, Mode::Change);
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

/// Whether this kernel has a managed queue: tried once in the life of the process, when first asked for.
///
/// # Errors
/// When no namespace can be made to try it in.
pub fn has_aqm(aqm: Aqm) -> Result<bool> {
    static WORKS: Mutex<[Option<bool>; Aqm::ALL.len()]> = Mutex::new([None; Aqm::ALL.len()]);
    let at = Aqm::ALL.iter().position(|one| *one == aqm).unwrap_or_default();
    let mut works = WORKS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(works) = works[at] {
        return Ok(works);
    }
    let bottleneck = Bottleneck { rate: 125_000, burst: 1522, queue: Fifo::sample(aqm) };
    let mut batch = Batch::new();
    write_queue(&mut batch, 1, &bottleneck, encode::ROOT, Mode::Create);
    let answer = Ns::create()?.attempt(&batch)?.is_empty();
    works[at] = Some(answer);
    Ok(answer)
}
