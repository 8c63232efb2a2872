//! Builds netlink messages, many in one buffer.

use super::socket::HEADER;

/// Messages to be sent together. Each has a description, which an error about it carries.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    /// An attribute was longer than its 16-bit length can say; sending such a batch is refused.
    pub(super) overflow: bool,
    /// The batch is one request whose answer is data.
    pub(super) question: bool,
    /// Framed by the begin and end of an nftables transaction: one send, and the end is not answered.
    pub(super) transaction: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) start: usize,
    pub(super) what: String,
    /// Errors that mean the wanted state is there already.
    pub(super) tolerated: &'static [i32],
    /// Never in another send than the message before it.
    pub(super) joined: bool,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch::default()
    }

    /// For one request whose answer is data, [`super::Socket::ask`].
    pub(crate) fn question() -> Batch {
        Batch { question: true, ..Batch::default() }
    }

    /// For an nftables transaction, [`super::Socket::run_transaction`].
    pub(crate) fn transaction() -> Batch {
        Batch { transaction: true, ..Batch::default() }
    }

    /// The messages as they are sent, but for their sequence numbers.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of messages.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Begins a message. `header` is the fixed part that follows the netlink header. `what` completes "cannot ...".
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: i32,
        header: &[u8],
        what: impl Into<String>,
    ) -> Message<'_> {
        let start = self.bytes.len();
        let flags = flags as u16 | libc::NLM_F_REQUEST as u16;
        self.bytes.extend_from_slice(&(HEADER as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        // The sequence number is filled in when the batch is sent; the port number stays 0, the kernel knows it.
        self.bytes.extend_from_slice(&[0; 8]);
        self.entries.push(Entry { start, what: what.into(), tolerated: &[], joined: false });
        let mut message = Message { batch: self, start };
        message.raw(header);
        message
    }
}

/// The last message of a [`Batch`], open for more attributes.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    batch: &'a mut Batch,
    start: usize,
}

impl Message<'_> {
    /// Errors that are success for this message.
    pub(crate) fn tolerate(&mut self, errors: &'static [i32]) -> &mut Self {
        if let Some(entry) = self.batch.entries.last_mut() {
            entry.tolerated = errors;
        }
        self
    }

    /// Keeps the message in one send with the one before it: the kernel does both or, when this process is killed, neither.
    pub(crate) fn joined(&mut self) -> &mut Self {
        if let Some(entry) = self.batch.entries.last_mut() {
            entry.joined = true;
        }
        self
    }

    fn raw(&mut self, data: &[u8]) {
        self.batch.bytes.extend_from_slice(data);
        self.finish();
    }

    /// Pads to four bytes and writes the message's length; the kernel takes trailing padding as part of the message.
    fn finish(&mut self) {
        let bytes = &mut self.batch.bytes;
        while !(bytes.len() - self.start).is_multiple_of(4) {
            bytes.push(0);
        }
        let length = (bytes.len() - self.start) as u32;
        bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn attribute_header(&mut self, kind: u16, length: usize) {
        let length = u16::try_from(length + 4).unwrap_or_else(|_| {
            self.batch.overflow = true;
            4
        });
        self.batch.bytes.extend_from_slice(&length.to_ne_bytes());
        self.batch.bytes.extend_from_slice(&kind.to_ne_bytes());
    }

    /// Adds an attribute with these bytes.
    pub(crate) fn bytes(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        self.attribute_header(kind, data.len());
        self.raw(data);
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order, as nftables has them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Text with a NUL at its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute_header(kind, value.len() + 1);
        self.batch.bytes.extend_from_slice(value.as_bytes());
        self.raw(&[0]);
        self
    }

    /// An attribute made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_after(kind, &[], fill)
    }

    /// An attribute made of a fixed part and then attributes.
    pub(crate) fn nest_after(
        &mut self,
        kind: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let at = self.batch.bytes.len();
        self.attribute_header(kind | libc::NLA_F_NESTED as u16, 0);
        self.raw(fixed);
        fill(self);
        match u16::try_from(self.batch.bytes.len() - at) {
            Ok(length) => {
                self.batch.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
            }
            Err(_) => self.batch.overflow = true,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Messages};
    use super::*;

    #[test]
    fn a_message_reads_back_as_it_was_built() {
        let mut batch = Batch::new();
        batch
            .message(16, libc::NLM_F_CREATE, &[1, 2, 3, 4], "try")
            .text(3, "eth0")
            .nest(18, |message| {
                message.text(1, "veth").nest_after(2, &[9; 8], |inner| {
                    inner.u32(1, 7);
                });
            })
            .u8(5, 1);
        assert_eq!(batch.bytes.len() % 4, 0);
        let (header, body) = Messages::new(&batch.bytes).next().unwrap();
        assert_eq!(header.kind, 16);
        assert_eq!(&body[..4], &[1, 2, 3, 4]);
        let attributes: Vec<_> = Attributes::new(&body[4..]).collect();
        assert_eq!(attributes[0], (3, &b"eth0\0"[..]));
        let nested: Vec<_> = Attributes::new(attributes[1].1).collect();
        assert_eq!(nested[0], (1, &b"veth\0"[..]));
        assert_eq!(Attributes::new(&nested[1].1[8..]).next().unwrap().1, 7u32.to_ne_bytes());
        assert_eq!(attributes[2], (5, &[1][..]));
    }

    #[test]
    fn an_attribute_too_long_is_noticed() {
        let mut batch = Batch::new();
        batch.message(16, 0, &[], "try").bytes(1, &vec![0; 70_000]);
        assert!(batch.overflow);
    }
}
