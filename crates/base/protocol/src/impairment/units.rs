//! Numbers with units: how a value of an impairment is read, and written so that it reads back the same.

use super::{Aqm, LossModel, ParseError, Queue, Warning};

/// Longest delay or jitter taken: one hour.
pub(super) const MOST_DELAY_US: u64 = 3_600_000_000;
/// Highest rate taken: 10 Tbit/s.
pub(super) const MOST_RATE_BPS: u64 = 10_000_000_000_000;
/// Largest queues taken.
const MOST_QUEUE_PACKETS: u64 = 4_000_000;
const MOST_QUEUE_BYTES: u64 = 4 << 30;
/// Longest number taken, in characters; every value that has a meaning is far shorter.
const MOST_DIGITS: usize = 40;
/// Longest loss model taken: its name and four numbers.
const MOST_MODEL: usize = 8 + 4 * (MOST_DIGITS + 1);

pub(super) const RATE_UNITS: &[(&str, u32)] =
    &[("tbit", 12), ("gbit", 9), ("mbit", 6), ("kbit", 3), ("bit", 0)];
pub(super) const TIME_UNITS: &[(&str, u32)] = &[("s", 6), ("ms", 3), ("us", 0)];

/// netem's word for a Gilbert-Elliott model.
const MODEL: &str = "gemodel";

/// One key with its value, for messages.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

impl Entry<'_> {
    pub(super) fn not(&self, expected: &'static str) -> ParseError {
        ParseError::Value { key: shorten(self.key), value: shorten(self.value), expected }
    }

    /// Bounds what is looked at: a number, or four of them in a loss model.
    pub(super) fn check_length(&self) -> Result<(), ParseError> {
        let most = if self.is_model() { MOST_MODEL } else { MOST_DIGITS };
        if self.value.len() > most {
            return Err(self.not("a number of at most 40 characters"));
        }
        Ok(())
    }

    fn is_model(&self) -> bool {
        self.key == "loss" && self.value.starts_with(MODEL)
    }

    /// `gemodel P [R [1-H [1-K]]]`, as netem's `loss` takes it; `None` is another kind of loss.
    pub(super) fn loss_model(&self) -> Result<Option<LossModel>, ParseError> {
        const EXPECTED: &str = "a loss model such as `gemodel 1% 10% 70% 0.1%` (p, r, 1-h, 1-k; all but p may be left out)";
        if !self.is_model() {
            return Ok(None);
        }
        let mut words = self.value.split([' ', ',']).filter(|word| !word.is_empty());
        let mut values = Vec::with_capacity(4);
        if words.next() != Some(MODEL) {
            return Err(self.not(EXPECTED));
        }
        for value in words {
            let value = Entry { key: self.key, value }.percent().map_err(|error| match error {
                ParseError::Range { .. } => error,
                _ => self.not(EXPECTED),
            })?;
            values.push(value);
        }
        // What is left out is as netem has it: one frame long, everything lost in the bad state, nothing in the good.
        let (p, rest) = match values.split_first() {
            Some((p, rest)) if rest.len() <= 3 => (*p, rest),
            _ => return Err(self.not(EXPECTED)),
        };
        Ok(Some(LossModel {
            p,
            r: rest.first().copied().unwrap_or(1.0 - p),
            loss_in_bad: rest.get(1).copied().unwrap_or(1.0),
            loss_in_good: rest.get(2).copied().unwrap_or(0.0),
        }))
    }

    pub(super) fn aqm(&self) -> Result<Aqm, ParseError> {
        let name = self.value.to_ascii_lowercase().replace('_', "-");
        let found = Aqm::ALL.into_iter().find(|aqm| aqm.name() == name);
        found.ok_or_else(|| self.not("`red`, `codel`, `fq-codel`, `pie` or `none`"))
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

    pub(super) fn time(&self, warning: &mut Option<Warning>) -> Result<u64, ParseError> {
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

    pub(super) fn rate(&self, warning: &mut Option<Warning>) -> Result<Option<u64>, ParseError> {
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

    pub(super) fn queue(&self) -> Result<Queue, ParseError> {
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

    pub(super) fn percent(&self) -> Result<f64, ParseError> {
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

    pub(super) fn ratio(&self) -> Result<f64, ParseError> {
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
pub(super) fn in_units(value: u64, units: &[(&str, u32)]) -> String {
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
pub(super) fn in_percent(ratio: f64) -> String {
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
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(60).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Impairment;
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
}
