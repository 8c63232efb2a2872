//! The envelope of a stored value.
//!
//! ```text
//! offset  size  field
//! 0       4     magic "VNR1"
//! 4       4     schema version, little endian, from 1
//! 8       4     length of the payload in bytes, little endian
//! 12      4     CRC-32 (IEEE) of bytes 0..12 and the payload, little endian
//! 16      n     payload: JSON
//! ```
//!
//! Each change of a few bytes anywhere is an [`Error::Corrupt`], never another value (T-31).

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result};

const MAGIC: [u8; 4] = *b"VNR1";
const HEADER_BYTES: usize = 16;

/// Turns a value of one schema version into the next; the error says what is wrong with the value.
pub type Migration = fn(Value) -> std::result::Result<Value, String>;

/// Encodes `value` under `schema_version` (from 1).
///
/// # Errors
/// [`Error::Encode`] when `value` has no JSON form, [`Error::Invalid`] when it is too large.
pub fn encode<T: Serialize + ?Sized>(schema_version: u32, value: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, value).map_err(Error::Encode)?;
    let length = bytes.len() - HEADER_BYTES;
    let length = u32::try_from(length)
        .map_err(|_| Error::Invalid { reason: format!("a value of {length} bytes") })?;
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&schema_version.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Decodes what [`encode`] made. `migrations[i]` leads from schema version `i + 1` to `i + 2`; the version
/// now is `migrations.len() + 1`.
///
/// # Errors
/// [`Error::Corrupt`] when a byte is wrong or the payload does not fit `T`, [`Error::Newer`] when a newer
/// vnode wrote the value, [`Error::Migration`] when an old value cannot be brought up.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], migrations: &[Migration]) -> Result<T> {
    let version = version(bytes)?;
    let known = u32::try_from(migrations.len() + 1).unwrap_or(u32::MAX);
    if version > known {
        return Err(Error::Newer { what: "a stored value".to_owned(), found: version, known });
    }
    let payload = &bytes[HEADER_BYTES..];
    let not_json = |error: serde_json::Error| Error::Corrupt { reason: error.to_string() };
    if version == known {
        return serde_json::from_slice(payload).map_err(not_json);
    }
    let mut value: Value = serde_json::from_slice(payload).map_err(not_json)?;
    for from in version..known {
        value = migrations[from as usize - 1](value)
            .map_err(|reason| Error::Migration { from, reason })?;
    }
    serde_json::from_value(value).map_err(not_json)
}

/// Whether each byte is as [`encode`] wrote it.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    version(bytes).is_ok()
}

/// The schema version of a record that is whole.
fn version(bytes: &[u8]) -> Result<u32> {
    let corrupt = |reason: &str| Error::Corrupt { reason: reason.to_owned() };
    if bytes.len() < HEADER_BYTES {
        return Err(Error::Corrupt { reason: format!("{} bytes are no record", bytes.len()) });
    }
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if bytes[0..4] != MAGIC {
        return Err(corrupt("it does not begin with the magic of a record"));
    }
    if word(8) as usize != bytes.len() - HEADER_BYTES {
        return Err(corrupt("its length is not the one written in it"));
    }
    if word(12) != checksum(bytes) {
        return Err(corrupt("its checksum does not match"));
    }
    match word(4) {
        0 => Err(corrupt("schema version 0")),
        version => Ok(version),
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[0..12]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Node {
        name: String,
        ports: Vec<u16>,
    }

    fn node() -> Node {
        Node { name: "r1".to_owned(), ports: vec![80, 443] }
    }

    #[test]
    fn a_value_comes_back() {
        let bytes = encode(1, &node()).unwrap();
        assert_eq!(decode::<Node>(&bytes, &[]).unwrap(), node());
    }

    #[test]
    fn t31_each_flipped_bit_and_each_cut_is_told_as_corrupt() {
        let bytes = encode(1, &node()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let read = decode::<Node>(&wrong, &[]);
                assert!(
                    matches!(read, Err(Error::Corrupt { .. })),
                    "byte {at}, bit {bit}: {read:?}"
                );
            }
            let mut wrong = bytes.clone();
            wrong[at] = !wrong[at];
            assert!(matches!(decode::<Node>(&wrong, &[]), Err(Error::Corrupt { .. })));
            let cut = decode::<Node>(&bytes[..at], &[]);
            assert!(matches!(cut, Err(Error::Corrupt { .. })), "cut at {at}: {cut:?}");
        }
        let mut longer = bytes.clone();
        longer.push(b' ');
        assert!(matches!(decode::<Node>(&longer, &[]), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn old_values_are_migrated_step_by_step() {
        let first: Migration = |mut value| {
            let name = value.get_mut("title").map(Value::take).ok_or("no title")?;
            value["name"] = name;
            Ok(value)
        };
        let second: Migration = |mut value| {
            value["ports"] = serde_json::json!([80, 443]);
            Ok(value)
        };
        let old = encode(1, &serde_json::json!({"title": "r1"})).unwrap();
        assert_eq!(decode::<Node>(&old, &[first, second]).unwrap(), node());
        let middle = encode(2, &serde_json::json!({"name": "r1"})).unwrap();
        assert_eq!(decode::<Node>(&middle, &[first, second]).unwrap(), node());
        let wrong = encode(1, &serde_json::json!({})).unwrap();
        assert!(matches!(
            decode::<Node>(&wrong, &[first, second]),
            Err(Error::Migration { from: 1, .. })
        ));
    }

    #[test]
    fn a_newer_value_is_refused_not_guessed() {
        let bytes = encode(3, &node()).unwrap();
        assert!(matches!(
            decode::<Node>(&bytes, &[]),
            Err(Error::Newer { found: 3, known: 1, .. })
        ));
    }

    #[test]
    fn a_payload_of_another_shape_is_corrupt() {
        let bytes = encode(1, &42).unwrap();
        assert!(matches!(decode::<Node>(&bytes, &[]), Err(Error::Corrupt { .. })));
    }
}
