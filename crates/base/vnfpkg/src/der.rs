//! Reading DER: as much of it as certificates and CMS signatures need.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BITS: u8 = 0x03;
pub(crate) const BYTES: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The context's own tag of that number, of something that holds others.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
    /// With its tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Value<'a> {
    pub(crate) fn inside(self) -> Reader<'a> {
        Reader(self.body)
    }
}

/// Values that follow each other. What cannot be read is `None`, as is the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn any(&mut self) -> Option<Value<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        // Tags of several bytes occur in nothing that is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // Four gigabytes are enough; a length without an end is BER's, not DER's.
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit))
            }
            _ => return None,
        };
        let (body, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Value { tag, body, whole })
    }

    /// The next value, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Value<'a>> {
        self.any().filter(|value| value.tag == tag)
    }

    /// The next value if it has this tag; else nothing is read.
    pub(crate) fn maybe(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.0.first() == Some(&tag) { self.any() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_held_against_what_is_there() {
        let mut reader = Reader(&[SEQUENCE, 3, INTEGER, 1, 5, BYTES, 0x81, 1, 7]);
        let mut inside = reader.take(SEQUENCE).expect("a sequence").inside();
        assert!(inside.maybe(OID).is_none());
        assert_eq!(inside.take(INTEGER).expect("a number").body, [5]);
        assert!(inside.is_empty());
        let last = reader.take(BYTES).expect("bytes");
        assert_eq!((last.body, last.whole), (&[7][..], &[BYTES, 0x81, 1, 7][..]));
        for wrong in [
            &[SEQUENCE, 4, 1][..],
            &[SEQUENCE, 0x80, 0, 0],
            &[0x1f, 1, 1],
            &[BYTES, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert!(Reader(wrong).any().is_none(), "{wrong:?}");
        }
    }
}
