//! Impairments as people write them: `rate=100mbit delay=0.4ms loss=0.1% queue=50`.

use std::fmt;

use super::units::{Entry, RATE_UNITS, TIME_UNITS, in_percent, in_units, shorten};
use super::{Distribution, Impairment, Queue};

/// Keys that [`Impairment::set`] takes, for messages and completion.
pub const KEYS: &[&str] = &[
    "rate",
    "delay",
    "jitter",
    "distribution",
    "delay-correlation",
    "loss",
    "loss-ratio",
    "loss-correlation",
    "duplicate",
    "duplicate-ratio",
    "duplicate-correlation",
    "reorder",
    "reorder-ratio",
    "reorder-correlation",
    "corrupt",
    "corrupt-ratio",
    "corrupt-correlation",
    "queue",
    "aqm",
];

/// Why a value of an impairment was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    #[error("unknown impairment `{key}` (known: {})", KEYS.join(", "))]
    UnknownKey { key: String },
    #[error("impairment `{word}` is not of the form key=value, as in `delay=10ms`")]
    NotAPair { word: String },
    #[error("`{key}: {value}` is not {expected}")]
    Value { key: String, value: String, expected: &'static str },
    #[error("`{key}: {value}` is out of range ({range})")]
    Range { key: String, value: String, range: &'static str },
    #[error("`{key}` needs {needs}")]
    Needs { key: &'static str, needs: &'static str },
}

/// A value was taken, but in a meaning that the writer may not have had in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Impairment {
    /// Sets one parameter from its key and value as written; `none` resets it.
    ///
    /// Delays take `us`, `ms`, `s` (a bare number is milliseconds, with a warning); rates take
    /// `bit`, `kbit`, `mbit`, `gbit`, `tbit`, decimal (a bare number is kbit/s, with a warning;
    /// `0` is unlimited); probabilities take `%`, or a ratio under the key ending in `-ratio`;
    /// queues take packets (bare) or `b`, `kb`, `kib`, `mb`, `mib`. `loss` also takes netem's words for
    /// a Gilbert-Elliott model, `gemodel P [R [1-H [1-K]]]`, with spaces or commas between.
    ///
    /// # Errors
    /// Unknown key, value without or with a wrong unit, value out of range.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<Warning>, ParseError> {
        let entry = Entry { key, value: value.trim() };
        entry.check_length()?;
        let none = entry.value.eq_ignore_ascii_case("none");
        let mut warning = None;
        match key {
            "rate" if none => self.rate_bps = None,
            "rate" => self.rate_bps = entry.rate(&mut warning)?,
            "delay" if none => self.delay_us = 0,
            "delay" => self.delay_us = entry.time(&mut warning)?,
            "jitter" if none => self.jitter_us = 0,
            "jitter" => self.jitter_us = entry.time(&mut warning)?,
            "distribution" => {
                self.distribution = match entry.value.to_ascii_lowercase().as_str() {
                    "uniform" | "none" => Distribution::Uniform,
                    "normal" => Distribution::Normal,
                    _ => return Err(entry.not("`uniform` or `normal`")),
                }
            }
            "delay-correlation" => self.delay_correlation = entry.percent()?,
            "loss" => match entry.loss_model()? {
                Some(model) => (self.loss, self.loss_model) = (0.0, Some(model)),
                None => (self.loss, self.loss_model) = (entry.percent()?, None),
            },
            "loss-ratio" => (self.loss, self.loss_model) = (entry.ratio()?, None),
            "loss-correlation" => self.loss_correlation = entry.percent()?,
            "duplicate" => self.duplicate = entry.percent()?,
            "duplicate-ratio" => self.duplicate = entry.ratio()?,
            "duplicate-correlation" => self.duplicate_correlation = entry.percent()?,
            "reorder" => self.reorder = entry.percent()?,
            "reorder-ratio" => self.reorder = entry.ratio()?,
            "reorder-correlation" => self.reorder_correlation = entry.percent()?,
            "corrupt" => self.corrupt = entry.percent()?,
            "corrupt-ratio" => self.corrupt = entry.ratio()?,
            "corrupt-correlation" => self.corrupt_correlation = entry.percent()?,
            "queue" if none => self.queue = None,
            "queue" => self.queue = Some(entry.queue()?),
            "aqm" if none => self.aqm = None,
            "aqm" => self.aqm = Some(entry.aqm()?),
            _ => return Err(ParseError::UnknownKey { key: shorten(key) }),
        }
        Ok(warning)
    }

    /// Takes over what [`Impairment::set`] changes under this key. Unknown keys change nothing.
    pub fn take(&mut self, key: &str, from: &Self) {
        match key {
            "rate" => self.rate_bps = from.rate_bps,
            "delay" => self.delay_us = from.delay_us,
            "jitter" => self.jitter_us = from.jitter_us,
            "distribution" => self.distribution = from.distribution,
            "delay-correlation" => self.delay_correlation = from.delay_correlation,
            "loss" | "loss-ratio" => {
                (self.loss, self.loss_model) = (from.loss, from.loss_model);
            }
            "loss-correlation" => self.loss_correlation = from.loss_correlation,
            "duplicate" | "duplicate-ratio" => self.duplicate = from.duplicate,
            "duplicate-correlation" => self.duplicate_correlation = from.duplicate_correlation,
            "reorder" | "reorder-ratio" => self.reorder = from.reorder,
            "reorder-correlation" => self.reorder_correlation = from.reorder_correlation,
            "corrupt" | "corrupt-ratio" => self.corrupt = from.corrupt,
            "corrupt-correlation" => self.corrupt_correlation = from.corrupt_correlation,
            "queue" => self.queue = from.queue,
            "aqm" => self.aqm = from.aqm,
            _ => {}
        }
    }

    /// [`Impairment::set`] from one word `key=value`, as the command line has it.
    ///
    /// # Errors
    /// As [`Impairment::set`], and a word without `=`.
    pub fn set_word(&mut self, word: &str) -> Result<Option<Warning>, ParseError> {
        let (key, value) =
            word.split_once('=').ok_or_else(|| ParseError::NotAPair { word: shorten(word) })?;
        self.set(key.trim(), value)
    }

    /// Checks what no single value shows: to be called when all of them are set.
    ///
    /// # Errors
    /// Names the parameter that means nothing without another.
    pub fn check(&self) -> Result<(), ParseError> {
        if self.reorder > 0.0 && self.delay_us == 0 {
            return Err(ParseError::Needs {
                key: "reorder",
                needs: "a `delay`: without one, no frame waits that another could overtake",
            });
        }
        if self.delay_correlation > 0.0 && self.jitter_us == 0 {
            return Err(ParseError::Needs { key: "delay-correlation", needs: "a `jitter`" });
        }
        let correlations = [
            ("loss-correlation", self.loss_correlation, self.loss, "a `loss` that is no model"),
            ("duplicate-correlation", self.duplicate_correlation, self.duplicate, "a `duplicate`"),
            ("reorder-correlation", self.reorder_correlation, self.reorder, "a `reorder`"),
            ("corrupt-correlation", self.corrupt_correlation, self.corrupt, "a `corrupt`"),
        ];
        for (key, correlation, of, needs) in correlations {
            if correlation > 0.0 && of == 0.0 {
                return Err(ParseError::Needs { key, needs });
            }
        }
        if self.aqm.is_some() && self.rate_bps.is_none() {
            return Err(ParseError::Needs {
                key: "aqm",
                needs: "a `rate`: without one, no queue builds that it could manage",
            });
        }
        Ok(())
    }

    /// The parameters that differ from a perfect link, as [`Impairment::set`] takes them back.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if let Some(rate) = self.rate_bps {
            pairs.push(("rate", in_units(rate, RATE_UNITS)));
        }
        for (key, value) in [("delay", self.delay_us), ("jitter", self.jitter_us)] {
            if value > 0 {
                pairs.push((key, in_units(value, TIME_UNITS)));
            }
        }
        if self.distribution == Distribution::Normal {
            pairs.push(("distribution", "normal".to_owned()));
        }
        let ratios = [
            ("delay-correlation", self.delay_correlation),
            ("loss", self.loss),
            ("loss-correlation", self.loss_correlation),
            ("duplicate", self.duplicate),
            ("duplicate-correlation", self.duplicate_correlation),
            ("reorder", self.reorder),
            ("reorder-correlation", self.reorder_correlation),
            ("corrupt", self.corrupt),
            ("corrupt-correlation", self.corrupt_correlation),
        ];
        for (key, ratio) in ratios {
            match &self.loss_model {
                Some(model) if key == "loss" => {
                    let values = [model.p, model.r, model.loss_in_bad, model.loss_in_good];
                    let values = values.map(in_percent).join(",");
                    pairs.push((key, format!("gemodel,{values}")));
                }
                _ if ratio > 0.0 => pairs.push((key, in_percent(ratio))),
                _ => {}
            }
        }
        match self.queue {
            Some(Queue::Packets(packets)) => pairs.push(("queue", packets.to_string())),
            Some(Queue::Bytes(bytes)) => pairs.push(("queue", format!("{bytes}b"))),
            None => {}
        }
        if let Some(aqm) = self.aqm {
            pairs.push(("aqm", aqm.name().to_owned()));
        }
        pairs
    }
}

/// `rate=100mbit delay=10ms loss=0.1%`, or `none` for a perfect link.
impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.pairs();
        if pairs.is_empty() {
            return f.write_str("none");
        }
        for (at, (key, value)) in pairs.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::{MOST_DELAY_US, MOST_RATE_BPS};
    use super::super::{Aqm, LossModel};
    use super::*;

    fn set(key: &str, value: &str) -> Result<(Impairment, Option<String>), ParseError> {
        let mut impairment = Impairment::default();
        let warning = impairment.set(key, value)?;
        Ok((impairment, warning.map(|w| w.text)))
    }

    #[test]
    fn bad_values_are_named() {
        let error = set("delay", "soon").unwrap_err().to_string();
        assert_eq!(error, "`delay: soon` is not a time such as `400us`, `10ms` or `1.5s`");
        assert!(set("speed", "1").unwrap_err().to_string().contains("known: rate"));
        assert!(set("delay", "2h").is_err());
        assert!(set("delay", "4000s").is_err());
        assert!(set("delay", &"9".repeat(100)).is_err());
        assert!(set("delay", &"9".repeat(39)).is_err());
        assert!(Impairment::default().set_word("delay").is_err());
    }

    #[test]
    fn reorder_without_delay_is_refused() {
        let mut impairment = set("reorder", "5%").unwrap().0;
        assert!(impairment.check().is_err());
        impairment.set("delay", "1ms").unwrap();
        assert_eq!(impairment.check(), Ok(()));
    }

    #[test]
    fn loss_models_are_written_as_netem_has_them() {
        let model = |text: &str| set("loss", text).map(|(impairment, _)| impairment);
        let whole = model("gemodel 1% 10% 70% 0.1%").unwrap();
        let values = LossModel { p: 0.01, r: 0.1, loss_in_bad: 0.7, loss_in_good: 0.001 };
        assert_eq!((whole.loss, whole.loss_model), (0.0, Some(values)));
        assert_eq!(whole.to_string(), "loss=gemodel,1%,10%,70%,0.1%");
        assert_eq!(model("gemodel,1%,10%,70%,0.1%").unwrap(), whole);
        // What netem's own defaults are: bursts of one frame for p alone, everything lost in them.
        assert_eq!(model("gemodel 25%").unwrap().loss_model.unwrap().r, 0.75);
        let short = model("gemodel 1% 10%").unwrap().loss_model.unwrap();
        assert_eq!((short.loss_in_bad, short.loss_in_good), (1.0, 0.0));
        assert!((values.mean() - (0.01 * 0.7 + 0.1 * 0.001) / 0.11).abs() < 1e-12);
        for bad in ["gemodel", "gemodel 1", "gemodel 1% 2% 3% 4% 5%", "gemodels 1%"] {
            let error = model(bad).unwrap_err().to_string();
            assert!(error.contains("gemodel"), "{error}");
        }
        assert!(set("loss", &format!("gemodel {}%", "1".repeat(300))).is_err());
        assert!(model("gemodel 101%").unwrap_err().to_string().contains("out of range"));
        assert!(set("duplicate", "gemodel 1%").is_err());
        // One kind of loss takes the place of the other.
        let mut changed = whole;
        changed.set("loss", "5%").unwrap();
        assert_eq!((changed.loss, changed.loss_model), (0.05, None));
        changed.set("loss-correlation", "25%").unwrap();
        assert_eq!(changed.check(), Ok(()));
        changed.set("loss", "gemodel 1%").unwrap();
        assert!(changed.check().unwrap_err().to_string().starts_with("`loss-correlation` needs"));
    }

    #[test]
    fn queue_management_needs_a_rate_and_correlations_what_they_correlate() {
        let mut impairment = set("aqm", "fq_codel").unwrap().0;
        assert_eq!(impairment.aqm, Some(Aqm::FqCodel));
        assert!(impairment.check().unwrap_err().to_string().starts_with("`aqm` needs a `rate`"));
        impairment.set("rate", "1mbit").unwrap();
        assert_eq!(impairment.check(), Ok(()));
        assert_eq!(impairment.to_string(), "rate=1mbit aqm=fq-codel");
        impairment.set("aqm", "none").unwrap();
        assert_eq!(impairment.aqm, None);
        assert!(set("aqm", "cake").unwrap_err().to_string().contains("`pie`"));
        for key in ["duplicate", "reorder", "corrupt", "loss"] {
            let mut impairment = set(&format!("{key}-correlation"), "25%").unwrap().0;
            assert!(impairment.check().unwrap_err().to_string().contains(key), "{key}");
            impairment.set("delay", "1ms").unwrap();
            impairment.set(key, "1%").unwrap();
            assert_eq!(impairment.check(), Ok(()), "{key}");
        }
    }

    #[test]
    fn shown_as_it_is_written() {
        let words = "rate=1.5mbit delay=400us jitter=1.25ms distribution=normal \
                     delay-correlation=25% loss=0.1% duplicate=100% duplicate-correlation=5% \
                     corrupt=0.0005% queue=50 aqm=red";
        let mut impairment = Impairment::default();
        for word in words.split_whitespace() {
            assert_eq!(impairment.set_word(word).unwrap(), None);
        }
        assert_eq!(impairment.to_string(), words.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(Impairment::default().to_string(), "none");
    }

    #[test]
    fn shown_and_read_back_is_the_same() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for round in 0..2000 {
            let mut ratio = || (random() >> 11) as f64 / (1u64 << 53) as f64;
            let model = LossModel {
                p: ratio(),
                r: ratio() * 1e-5,
                loss_in_bad: ratio(),
                loss_in_good: ratio() * 1e-9,
            };
            let loss = if round % 2 == 0 { ratio() } else { 0.0 };
            let given = Impairment {
                rate_bps: Some(8 + random() % MOST_RATE_BPS / 2),
                delay_us: random() % MOST_DELAY_US,
                jitter_us: random() % 5000,
                loss,
                loss_model: (round % 2 == 1).then_some(model),
                corrupt: ((random() >> 11) as f64 / (1u64 << 53) as f64) * 1e-7,
                queue: Some(Queue::Bytes(1 + random() % 100_000)),
                ..Default::default()
            };
            let mut read = Impairment::default();
            for (key, value) in given.pairs() {
                assert_eq!(read.set(key, &value).unwrap(), None);
            }
            assert_eq!(read, given);
        }
    }
}
