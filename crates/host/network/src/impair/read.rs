//! What disciplines an interface has, read from the kernel.

use super::encode::{NETEM, ROOT, TBF, header, queue_handle};
use super::shaper::{Bottleneck, Bursts, Fifo, Netem, Shaper};
use crate::netlink::{Attributes, Batch, find, parse_u32, text};
use crate::{Ns, Result};

/// The disciplines of an interface.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// What the kernel gives every interface.
    Default,
    /// Ours.
    Ours(Shaper),
    /// Somebody else's, of this kind, or ours no more as we make it.
    Foreign(String),
}

/// What the root discipline counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) drops: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// One discipline as dumped.
#[derive(Debug, Clone)]
struct Discipline {
    index: u32,
    handle: u32,
    parent: u32,
    kind: String,
    options: Vec<u8>,
    counts: Counts,
}

impl Tree {
    pub(super) fn read(ns: &Ns, index: u32) -> Result<Tree> {
        Ok(Tree::read_counted(ns, index)?.0)
    }

    pub(super) fn read_counted(ns: &Ns, index: u32) -> Result<(Tree, Counts)> {
        let mut batch = Batch::question();
        let header = header(index, 0, 0);
        batch.message(libc::RTM_GETQDISC, libc::NLM_F_DUMP, &header, "list disciplines");
        let mut found = Vec::new();
        ns.ask(&batch, "list the queueing disciplines", |kind, body| {
            if kind == libc::RTM_NEWQDISC {
                // Older kernels ignore the interface asked for.
                found.extend(parse(body).filter(|discipline| discipline.index == index));
            }
        })?;
        Ok(assemble(&found))
    }
}

fn parse(body: &[u8]) -> Option<Discipline> {
    let number = |at: usize| parse_u32(body.get(at..)?);
    let attributes = Attributes::after(body, 20);
    let value = |kind| find(attributes.clone(), kind);
    Some(Discipline {
        index: number(4)?,
        handle: number(8)?,
        parent: number(12)?,
        kind: text(value(libc::TCA_KIND)?),
        options: value(libc::TCA_OPTIONS).unwrap_or_default().to_vec(),
        counts: value(libc::TCA_STATS2).and_then(counts).unwrap_or_default(),
    })
}

/// `TCA_STATS2`: `struct gnet_stats_basic` and `struct gnet_stats_queue`.
fn counts(value: &[u8]) -> Option<Counts> {
    let basic = find(Attributes::new(value), 1)?;
    let queue = find(Attributes::new(value), 3)?;
    Some(Counts {
        bytes: u64::from_ne_bytes(*basic.first_chunk()?),
        packets: parse_u32(basic.get(8..)?)?.into(),
        drops: parse_u32(queue.get(8..)?)?.into(),
    })
}

fn assemble(found: &[Discipline]) -> (Tree, Counts) {
    // The clsact hook is no discipline in the way of frames; defaults have no handle.
    let Some(root) = found.iter().find(|one| one.parent == ROOT && one.handle != 0) else {
        return (Tree::Default, Counts::default());
    };
    let at =
        |handle, parent| found.iter().find(move |one| one.handle == handle && one.parent == parent);
    let foreign = || (Tree::Foreign(root.kind.clone()), root.counts);
    let netem = match (root.handle, root.kind.as_str()) {
        (NETEM, "netem") => match parse_netem(&root.options) {
            Some(netem) => Some(netem),
            None => return foreign(),
        },
        (TBF, "tbf") => None,
        _ => return foreign(),
    };
    let parent = if netem.is_some() { NETEM | 1 } else { ROOT };
    let bottleneck = match at(TBF, parent).filter(|tbf| tbf.kind == "tbf") {
        None if netem.is_some()
            && !found.iter().any(|one| one.parent == NETEM | 1 && one.handle != 0) =>
        {
            None
        }
        None => return foreign(),
        Some(tbf) => {
            let queue = found.iter().find(|one| one.parent == TBF | 1);
            match queue.and_then(|queue| parse_bottleneck(tbf, queue)) {
                None => return foreign(),
                some => some,
            }
        }
    };
    (Tree::Ours(Shaper { netem, bottleneck }), root.counts)
}

pub(super) fn parse_netem(options: &[u8]) -> Option<Netem> {
    let number = |bytes: &[u8], at: usize| parse_u32(bytes.get(at * 4..)?);
    let attributes = Attributes::after(options, 24);
    let value = |kind| find(attributes.clone(), kind);
    let long = |kind| value(kind)?.first_chunk().copied().map(u64::from_ne_bytes);
    let correlations = value(1).unwrap_or(&[0; 12]);
    // TCA_NETEM_RATE, _SLOT: nothing we ever ask for.
    let rate = value(6).and_then(|rate| number(rate, 0)).unwrap_or(0);
    if rate != 0 || value(12).is_some() {
        return None;
    }
    let bursts = match value(5) {
        None => None,
        // TCA_NETEM_LOSS: of its models, NETEM_LOSS_GE is ours.
        Some(model) => {
            let model = find(Attributes::new(model), 2)?;
            Some(Bursts {
                p: number(model, 0)?,
                r: number(model, 1)?,
                h: number(model, 2)?,
                k1: number(model, 3)?,
            })
        }
    };
    let reorder = value(3).unwrap_or(&[0; 8]);
    let corrupt = value(4).unwrap_or(&[0; 8]);
    Some(Netem {
        delay_ns: long(10)?,
        jitter_ns: long(11)?,
        normal: false,
        limit: number(options, 1)?,
        // The kernel keeps the independent loss of before beside a model that has taken its place.
        loss: if bursts.is_some() { 0 } else { number(options, 2)? },
        bursts,
        duplicate: number(options, 4)?,
        reorder: number(reorder, 0)?,
        corrupt: number(corrupt, 0)?,
        delay_correlation: number(correlations, 0)?,
        loss_correlation: number(correlations, 1)?,
        duplicate_correlation: number(correlations, 2)?,
        reorder_correlation: number(reorder, 1)?,
        corrupt_correlation: number(corrupt, 1)?,
    })
}

fn parse_bottleneck(tbf: &Discipline, queue: &Discipline) -> Option<Bottleneck> {
    let attributes = || Attributes::new(&tbf.options);
    let options = find(attributes(), 1)?;
    let rate32 = parse_u32(options.get(8..)?)?;
    let rate64 = find(attributes(), 4).and_then(|value| value.first_chunk().copied());
    let rate = rate64.map_or(u64::from(rate32), u64::from_ne_bytes);
    let bucket = parse_u32(options.get(28..)?)?;
    let limit = queue_limit(&queue.kind, &queue.options)?;
    if queue_handle(limit) != queue.handle {
        return None;
    }
    // The kernel tells the bucket as time only, in ticks of 64 ns rounded down: the next whole byte is what was asked.
    let burst = (u128::from(bucket) * 64 * u128::from(rate)).div_ceil(1_000_000_000);
    Some(Bottleneck { rate, burst: u32::try_from(burst).unwrap_or(u32::MAX), queue: limit })
}

/// The queue in `tbf` by its kind and options.
pub(super) fn queue_limit(kind: &str, options: &[u8]) -> Option<Fifo> {
    let attribute = |number| find(Attributes::new(options), number).and_then(parse_u32);
    Some(match kind {
        "pfifo" => Fifo::Packets(parse_u32(options)?),
        "bfifo" => Fifo::Bytes(parse_u32(options)?),
        // TCA_RED_PARMS begins with the limit, TCA_*_LIMIT of the others is their second.
        "red" => Fifo::Red(attribute(1)?),
        "codel" => Fifo::Codel(attribute(2)?),
        "fq_codel" => Fifo::FqCodel(attribute(2)?),
        "pie" => Fifo::Pie(attribute(2)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse_netem(&bytes);
            for kind in ["pfifo", "red", "pie"] {
                queue_limit(kind, &bytes);
            }
            counts(&bytes);
            let discipline = |handle, parent, kind: &str| Discipline {
                index: 1,
                handle,
                parent,
                kind: kind.into(),
                options: bytes.clone(),
                counts: Counts::default(),
            };
            assemble(&[discipline(TBF, ROOT, "tbf"), discipline(3 << 16, TBF | 1, "pfifo")]);
            assemble(&[discipline(NETEM, ROOT, "netem")]);
            parse(&bytes);
        }
    }

    #[test]
    fn other_disciplines_are_foreign_and_defaults_are_none() {
        let one = |handle, kind: &str| Discipline {
            index: 1,
            handle,
            parent: ROOT,
            kind: kind.into(),
            options: Vec::new(),
            counts: Counts::default(),
        };
        assert_eq!(assemble(&[one(0, "noqueue")]).0, Tree::Default);
        assert_eq!(assemble(&[one(NETEM, "htb")]).0, Tree::Foreign("htb".into()));
        assert_eq!(assemble(&[one(NETEM, "netem")]).0, Tree::Foreign("netem".into()));
    }
}
