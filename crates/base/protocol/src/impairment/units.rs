//! Impairments as people write them: `rate=100mbit delay=0.4ms loss=0.1% queue=50`.

use std::fmt;

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
    "reorder",
    "reorder-ratio",
    "corrupt",
    "corrupt-ratio",
    "queue",
];

/// Longest delay or jitter taken: one hour.
const MOST_DELAY_US: u64 = 3_600_000_000;
/// Highest rate taken: 10 Tbit/s.
const MOST_RATE_BPS: u64 = 10_000_000_000_000;
/// Largest queues taken.
const MOST_QUEUE_PACKETS: u64 = 4_000_000;
const MOST_QUEUE_BYTES: u64 = 4 << 30;
/// Longest number taken, in characters; every value that has a meaning is far shorter.
const MOST_DIGITS: usize = 40;

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
    /// queues take packets (bare) or `b`, `kb`, `kib`, `mb`, `mib`.
    ///
    /// # Errors
    /// Unknown key, value without or with a wrong unit, value out of range.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<Warning>, ParseError> {
        let entry = Entry { key, value: value.trim() };
        if entry.value.len() > MOST_DIGITS {
            return Err(entry.not("a number of at most 40 characters"));
        }
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
            "loss" => self.loss = entry.percent()?,
            "loss-ratio" => self.loss = entry.ratio()?,
            "loss-correlation" => self.loss_correlation = entry.percent()?,
            "duplicate" => self.duplicate = entry.percent()?,
            "duplicate-ratio" => self.duplicate = entry.ratio()?,
            "reorder" => self.reorder = entry.percent()?,
            "reorder-ratio" => self.reorder = entry.ratio()?,
            "corrupt" => self.corrupt = entry.percent()?,
            "corrupt-ratio" => self.corrupt = entry.ratio()?,
            "queue" if none => self.queue = None,
            "queue" => self.queue = Some(entry.queue()?),
            _ => return Err(ParseError::UnknownKey { key: shorten(key) }),
        }
        Ok(warning)
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
        if self.loss_correlation > 0.0 && self.loss == 0.0 {
            return Err(ParseError::Needs { key: "loss-correlation", needs: "a `loss`" });
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
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (key, ratio) in ratios {
            if ratio > 0.0 {
                pairs.push((key, in_percent(ratio)));
            }
        }
        match self.queue {
            Some(Queue::Packets(packets)) => pairs.push(("queue", packets.to_string())),
            Some(Queue::Bytes(bytes)) => pairs.push(("queue", format!("{bytes}b"))),
            None => {}
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

const RATE_UNITS: &[(&str, u32)] =
    &[("tbit", 12), ("gbit", 9), ("mbit", 6), ("kbit", 3), ("bit", 0)];
const TIME_UNITS: &[(&str, u32)] = &[("s", 6), ("ms", 3), ("us", 0)];

/// One key with its value, for messages.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

impl Entry<'_> {
    fn not(&self, expected: &'static str) -> ParseError {
        ParseError::Value { key: shorten(self.key), value: shorten(self.value), expected }
    }

    fn beyond(&self, range: &'static str) -> ParseError {
        ParseError::Range { key: shorten(self.key), value: shorten(self.value), range }
    }

    /// Splits into the number and its unit in lower case.
    fn number_and_unit(&self) -> (&str, String) {
        let end = self
            .value
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+'))
            .unwrap_or(self.value.len());
        let (number, unit) = self.value.split_at(end);
        (number, unit.trim().to_ascii_lowercase())
    }

    fn time(&self, warning: &mut Option<Warning>) -> Result<u64, ParseError> {
        const EXPECTED: &str = "a time such as `400us`, `10ms` or `1.5s`";
        let (number, unit) = self.number_and_unit();
        let power = match unit.as_str() {
            "ns" => -3,
            "us" | "µs" => 0,
            "ms" => 3,
            "s" => 6,
            "" => {
                if number.chars().any(|c| ('1'..='9').contains(&c)) {
                    *warning = Some(Warning {
                        text: format!(
                            "`{}: {number}` has no unit and is taken as {number}ms",
                            self.key
                        ),
                    });
                }
                3
            }
            _ => return Err(self.not(EXPECTED)),
        };
        let time = scaled(number, power).ok_or_else(|| self.not(EXPECTED))?;
        if time > MOST_DELAY_US { Err(self.beyond("0 to 3600s")) } else { Ok(time) }
    }

    fn rate(&self, warning: &mut Option<Warning>) -> Result<Option<u64>, ParseError> {
        const EXPECTED: &str =
            "a rate such as `64kbit`, `1.5mbit` or `10gbit` (bits per second, decimal)";
        if self.value.eq_ignore_ascii_case("unlimited") {
            return Ok(None);
        }
        let (number, unit) = self.number_and_unit();
        let power = match unit.as_str() {
            "bit" => 0,
            "kbit" => 3,
            "mbit" => 6,
            "gbit" => 9,
            "tbit" => 12,
            "" => {
                if number.chars().any(|c| ('1'..='9').contains(&c)) {
                    *warning = Some(Warning {
                        text: format!(
                            "`{}: {number}` has no unit and is taken as {number}kbit",
                            self.key
                        ),
                    });
                }
                3
            }
            _ => return Err(self.not(EXPECTED)),
        };
        let rate = scaled(number, power).ok_or_else(|| self.not(EXPECTED))?;
        match rate {
            0 => Ok(None),
            8..=MOST_RATE_BPS => Ok(Some(rate)),
            _ => Err(self.beyond("8bit to 10tbit, or 0 for unlimited")),
        }
    }

    fn queue(&self) -> Result<Queue, ParseError> {
        const EXPECTED: &str = "a queue such as `50` (packets), `64kb` or `64kib`";
        let (number, unit) = self.number_and_unit();
        let whole = |times: u64| {
            number
                .parse::<u64>()
                .ok()
                .and_then(|count| count.checked_mul(times))
                .ok_or_else(|| self.not(EXPECTED))
        };
        let times = match unit.as_str() {
            "" | "p" | "packets" => {
                let packets = whole(1)?;
                return match u32::try_from(packets) {
                    Ok(packets) if (1..=MOST_QUEUE_PACKETS).contains(&u64::from(packets)) => {
                        Ok(Queue::Packets(packets))
                    }
                    _ => Err(self.beyond("1 to 4000000 packets")),
                };
            }
            "b" | "bytes" => 1,
            "kb" => 1000,
            "kib" => 1 << 10,
            "mb" => 1_000_000,
            "mib" => 1 << 20,
            _ => return Err(self.not(EXPECTED)),
        };
        let bytes = whole(times)?;
        if (1..=MOST_QUEUE_BYTES).contains(&bytes) {
            Ok(Queue::Bytes(bytes))
        } else {
            Err(self.beyond("1b to 4096mib"))
        }
    }

    fn percent(&self) -> Result<f64, ParseError> {
        const EXPECTED: &str =
            "a percentage such as `0.1%` (a ratio 0..1 has its own key, such as `loss-ratio`)";
        if self.value.eq_ignore_ascii_case("none") {
            return Ok(0.0);
        }
        let number = match self.value.strip_suffix('%') {
            Some(number) => number.trim_end(),
            None if scaled(self.value, 0) == Some(0) && is_zero(self.value) => "0",
            None => return Err(self.not(EXPECTED)),
        };
        // The exponent is put into the text, so that 0.1% is the same number as 0.001.
        let ratio = decimal(number).and_then(|()| format!("{number}e-2").parse::<f64>().ok());
        match ratio {
            Some(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            Some(_) => Err(self.beyond("0% to 100%")),
            None => Err(self.not(EXPECTED)),
        }
    }

    fn ratio(&self) -> Result<f64, ParseError> {
        const EXPECTED: &str = "a ratio such as `0.001`";
        if self.value.eq_ignore_ascii_case("none") {
            return Ok(0.0);
        }
        match decimal(self.value).and_then(|()| self.value.parse::<f64>().ok()) {
            Some(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            Some(_) => Err(self.beyond("0 to 1; percentages have the key without `-ratio`")),
            None => Err(self.not(EXPECTED)),
        }
    }
}

/// `Some` when the text is digits with at most one point and nothing else.
fn decimal(text: &str) -> Option<()> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    (digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())).then_some(())
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|b| b == b'0' || b == b'.')
}

/// A decimal number times 10 to `power`, rounded to the nearest whole, with no floating point.
fn scaled(text: &str, power: i32) -> Option<u64> {
    decimal(text)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut value: u128 = 0;
    // At most 40 digits come in; 10^38 is the last power of ten in u128, so overflow is checked.
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
    }
    let shift = power - i32::try_from(fraction.len()).ok()?;
    let value = if shift >= 0 {
        value.checked_mul(10u128.checked_pow(shift.unsigned_abs())?)?
    } else {
        let divisor = 10u128.checked_pow(shift.unsigned_abs())?;
        value.checked_add(divisor / 2)? / divisor
    };
    u64::try_from(value).ok()
}

/// A count in its largest unit not above it, exact.
fn in_units(value: u64, units: &[(&str, u32)]) -> String {
    let (unit, power) = units
        .iter()
        .find(|(_, power)| value >= 10u64.pow(*power))
        .or(units.last())
        .copied()
        .unwrap_or(("", 0));
    let size = 10u64.pow(power);
    let (whole, rest) = (value / size, value % size);
    if rest == 0 {
        return format!("{whole}{unit}");
    }
    let fraction = format!("{rest:0width$}", width = power as usize);
    format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
}

/// A ratio as a percentage whose text gives the same ratio back.
fn in_percent(ratio: f64) -> String {
    // Display of f64 is the shortest text that reads back equal, without an exponent.
    let text = ratio.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut digits = format!("{whole}{fraction}");
    let point = whole.len() + 2;
    while digits.len() < point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { format!("{whole}%") } else { format!("{whole}.{fraction}%") }
}

/// Text from outside for a message: bounded.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(60).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Result<(Impairment, Option<String>), ParseError> {
        let mut impairment = Impairment::default();
        let warning = impairment.set(key, value)?;
        Ok((impairment, warning.map(|w| w.text)))
    }

    #[test]
    fn t62_delays_are_exact_to_the_microsecond() {
        for (text, us) in [
            ("0.4ms", 400),
            ("0.05ms", 50),
            ("1us", 1),
            ("1.5s", 1_500_000),
            ("10ms", 10_000),
            ("10 ms", 10_000),
            ("499ns", 0),
            ("500ns", 1),
            ("0", 0),
            ("none", 0),
        ] {
            let (impairment, warning) = set("delay", text).unwrap();
            assert_eq!(impairment.delay_us, us, "{text}");
            assert_eq!(warning, None, "{text}");
        }
        let (impairment, warning) = set("delay", "20").unwrap();
        assert_eq!(impairment.delay_us, 20_000);
        assert_eq!(warning.unwrap(), "`delay: 20` has no unit and is taken as 20ms");
    }

    #[test]
    fn t63_rate_zero_is_unlimited() {
        assert_eq!(set("rate", "0").unwrap(), (Impairment::default(), None));
        assert_eq!(set("rate", "0mbit").unwrap().0.rate_bps, None);
        assert_eq!(set("rate", "100mbit").unwrap().0.rate_bps, Some(100_000_000));
        assert_eq!(set("rate", "1.5Gbit").unwrap().0.rate_bps, Some(1_500_000_000));
        let (impairment, warning) = set("rate", "512").unwrap();
        assert_eq!(impairment.rate_bps, Some(512_000));
        assert!(warning.unwrap().contains("512kbit"));
        assert!(set("rate", "10mbps").is_err());
        assert!(set("rate", "1bit").is_err());
    }

    #[test]
    fn loss_needs_its_unit() {
        assert_eq!(set("loss", "0.1%").unwrap().0.loss, 0.001);
        assert_eq!(set("loss", "100%").unwrap().0.loss, 1.0);
        assert_eq!(set("loss", "0").unwrap().0.loss, 0.0);
        assert_eq!(set("loss-ratio", "0.001").unwrap().0.loss, 0.001);
        assert!(set("loss", "0.1").unwrap_err().to_string().contains("loss-ratio"));
        assert!(set("loss", "101%").is_err());
        assert!(set("loss", "-1%").is_err());
        assert!(set("loss-ratio", "5").is_err());
        assert!(set("loss-ratio", "1%").is_err());
        assert!(set("loss-ratio", "NaN").is_err());
    }

    #[test]
    fn t66_queues_are_packets_or_bytes() {
        assert_eq!(set("queue", "50").unwrap().0.queue, Some(Queue::Packets(50)));
        assert_eq!(set("queue", "64kb").unwrap().0.queue, Some(Queue::Bytes(64_000)));
        assert_eq!(set("queue", "64KiB").unwrap().0.queue, Some(Queue::Bytes(65_536)));
        for bad in ["0", "1.5", "-3", "9999999999", "5kbit", ""] {
            assert!(set("queue", bad).is_err(), "{bad}");
        }
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
    fn shown_as_it_is_written() {
        let words = "rate=1.5mbit delay=400us jitter=1.25ms distribution=normal \
                     delay-correlation=25% loss=0.1% duplicate=100% corrupt=0.0005% queue=50";
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
        for _ in 0..2000 {
            let given = Impairment {
                rate_bps: Some(8 + random() % MOST_RATE_BPS / 2),
                delay_us: random() % MOST_DELAY_US,
                jitter_us: random() % 5000,
                loss: (random() >> 11) as f64 / (1u64 << 53) as f64,
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
