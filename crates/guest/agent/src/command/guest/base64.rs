//! Base64 as QEMU's agent takes it: line breaks allowed, padding may be missing.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::CommandError;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Value of each byte; 64 stands for padding, 65 for a line break, 255 for what may not be there.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut index = 0;
    while index < 64 {
        values[ALPHABET[index as usize] as usize] = index;
        index += 1;
    }
    values[b'=' as usize] = 64;
    values[b'\n' as usize] = 65;
    values[b'\r' as usize] = 65;
    values
};

/// Reads base64. Padding ends a group, and another may follow.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0u8);
    for byte in text.bytes() {
        match VALUES[usize::from(byte)] {
            255 => return Err(CommandError::invalid("Base64 data contains invalid characters")),
            65 => {}
            64 => (bits, count) = (0, 0),
            value => {
                bits = bits << 6 | u32::from(value);
                count += 6;
                if count >= 8 {
                    count -= 8;
                    bytes.push((bits >> count) as u8);
                    bits &= (1 << count) - 1;
                }
            }
        }
    }
    Ok(bytes)
}

/// Appends bytes as base64. All but the last piece of a stream must have a multiple of three bytes.
pub(crate) fn encode_into(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the space for it was made just now");
}

/// Bytes as base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
