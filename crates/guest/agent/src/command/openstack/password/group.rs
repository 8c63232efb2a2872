//! The fixed group of the old key exchange: numbers modulo 2^107 - 1, with 5 for the base.
//!
//! It hides a password from who glances at a log, not from who can read the exchange: the discrete logarithm takes
//! seconds. It is here because clients speak nothing else.

use zeroize::Zeroize;

/// 2^107 - 1, a Mersenne prime: reducing is folding.
pub(super) const P: u128 = (1 << 107) - 1;
const BASE: u128 = 5;

/// A number modulo [`P`]; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Number(u128);

impl Drop for Number {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Number {
    pub(super) fn new(value: u128) -> Self {
        Self(value % P)
    }

    /// Of decimal digits, any number of them.
    pub(super) fn from_digits(digits: &str) -> Option<Self> {
        if digits.is_empty() {
            return None;
        }
        let mut value = 0;
        for digit in digits.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            value = (value * 10 + u128::from(digit - b'0')) % P;
        }
        Some(Self(value))
    }

    /// Of a number with a fraction, which is cut off; `None` when it is infinite or none.
    pub(super) fn from_float(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let bits = value.trunc().abs().to_bits();
        let exponent = i32::try_from(bits >> 52).ok()? - 1075;
        let mantissa = u128::from(bits & ((1 << 52) - 1) | (1 << 52));
        let magnitude = match exponent {
            // The fraction is cut off, so only zeros are shifted out; below one everything is.
            ..=-53 => 0,
            -52..=-1 => mantissa >> -exponent,
            // 2^107 is 1.
            0.. => (0..exponent % 107).fold(mantissa, |value, _| value * 2 % P),
        };
        let number = Self::new(magnitude);
        Some(if value < 0.0 { number.negated() } else { number })
    }

    pub(super) fn negated(&self) -> Self {
        Self((P - self.0) % P)
    }

    /// Whether whatever is computed with it is known to everybody: 0, 1, p - 1.
    pub(super) fn is_weak(&self) -> bool {
        matches!(self.0, 0 | 1) || self.0 == P - 1
    }

    pub(super) fn public_key(secret: u128) -> Self {
        Self(BASE).power(secret)
    }

    pub(super) fn power(&self, mut exponent: u128) -> Self {
        let (mut result, mut square) = (Self(1), self.clone());
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = Self(product(result.0, square.0));
            }
            square = Self(product(square.0, square.0));
            exponent >>= 1;
        }
        result
    }

    /// Decimal digits, as both sides hash them.
    pub(super) fn digits(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(self.0.to_string())
    }
}

/// a * b mod p, both below p: 214 bits in two words, folded.
fn product(a: u128, b: u128) -> u128 {
    const HALF: u128 = (1 << 64) - 1;
    let (a1, a0, b1, b0) = (a >> 64, a & HALF, b >> 64, b & HALF);
    let low = a0 * b0;
    // Below 2^108 each: no overflow.
    let middle = a1 * b0 + a0 * b1;
    let (low, carry) = low.overflowing_add(middle << 64);
    let high = a1 * b1 + (middle >> 64) + u128::from(carry);
    // high * 2^128 + low, with 2^107 = 1: the bits above 107 are added to those below.
    let folded = (low & P) + ((low >> 107) | (high << 21));
    folded % P
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::from_digits(text).unwrap()
    }

    #[test]
    fn products_agree_with_slow_addition() {
        let slow = |a: u128, mut b: u128| {
            let (mut sum, mut double) = (0, a);
            while b > 0 {
                if b & 1 == 1 {
                    sum = (sum + double) % P;
                }
                double = double * 2 % P;
                b >>= 1;
            }
            sum
        };
        let values = [
            0,
            1,
            2,
            P - 1,
            P - 2,
            1 << 106,
            (1 << 64) - 1,
            1 << 64,
            P / 3,
            0x1234_5678_9abc_def0_1234_5678,
        ];
        for a in values {
            for b in values {
                assert_eq!(product(a, b), slow(a, b), "{a} * {b}");
            }
        }
    }

    /// PW-1: both sides compute the same number.
    #[test]
    fn pw_1_both_sides_compute_the_same() {
        for (a, b) in [(u128::MAX, 3), (0x0123_4567_89ab_cdef << 60, u128::MAX - 5), (7, 11)] {
            let ours = Number::public_key(b).power(a);
            let theirs = Number::public_key(a).power(b);
            assert!(ours == theirs);
        }
    }

    #[test]
    fn numbers_of_many_kinds() {
        assert_eq!(number("162259276829213363391578010288128").0, 1);
        assert_eq!(number(&"9".repeat(500)).negated().negated().0, number(&"9".repeat(500)).0);
        assert_eq!(Number::from_float(12.9).unwrap().0, 12);
        assert_eq!(Number::from_float(0.5).unwrap().0, 0);
        assert_eq!(Number::from_float(-5.5).unwrap().0, P - 5);
        assert_eq!(Number::from_float(2f64.powi(107)).unwrap().0, 1);
        assert_eq!(Number::from_float(2f64.powi(300)).unwrap().0, Number(2).power(300).0);
        assert_eq!(Number::from_float(1e15).unwrap().0, 1_000_000_000_000_000);
        assert_eq!(Number::from_float(f64::MAX).unwrap().0, {
            let mantissa = (1u128 << 53) - 1;
            product(mantissa, Number(2).power(971).0)
        });
        assert!(Number::from_float(f64::INFINITY).is_none());
        for weak in
            ["0", "1", "162259276829213363391578010288126", "162259276829213363391578010288127"]
        {
            assert!(number(weak).is_weak(), "{weak}");
        }
        assert!(!number("2").is_weak());
        assert!(Number::from_digits("").is_none() && Number::from_digits("0x10").is_none());
    }
}
