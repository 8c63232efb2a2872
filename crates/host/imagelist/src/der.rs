//! A reader of DER: enough to see how a signed message is built. What it says is checked by OpenSSL.

/// One element: its tag, what is in it, and the whole of it with tag and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Constructed, context-specific.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Reads elements that stand one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element; `None` at the end and where the bytes are no definite-length DER.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, after) = self.rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after) = after.split_first()?;
        let (length, after) = match first {
            0..=0x7f => (usize::from(first), after),
            0x81..=0x84 => {
                let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0_usize, |n, d| (n << 8) | usize::from(*d));
                (length, after)
            }
            _ => return None,
        };
        let (content, rest) = after.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        (self.peek()? == tag).then(|| self.next()).flatten()
    }

    /// The next element if it has this tag; `None` within when it has another.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        match self.peek() {
            Some(next) if next == tag => self.next().map(Some),
            _ => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_each_other_and_cuts_are_seen() {
        let bytes = [INTEGER, 1, 5, SEQUENCE, 0x81, 2, OID, 0];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.expect(INTEGER).unwrap().content, [5]);
        assert!(reader.expect(SET).is_none());
        assert!(reader.optional(SET).unwrap().is_none());
        let sequence = reader.next().unwrap();
        assert_eq!(sequence.content, [OID, 0]);
        assert_eq!(sequence.whole, &bytes[3..]);
        assert!(reader.is_empty() && reader.next().is_none());
        for wrong in [
            &[INTEGER, 2, 1][..],
            &[INTEGER],
            &[SEQUENCE, 0x80, 0, 0],
            &[0x1f, 1, 0],
            &[4, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert!(Reader::new(wrong).next().is_none(), "{wrong:?}");
        }
    }
}
