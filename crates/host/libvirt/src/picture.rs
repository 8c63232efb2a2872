//! A domain's screen as a PNG. Hypervisors give it as one, or as a portable pixmap (`P6` of Netpbm).

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Largest picture that is taken: a screen of 4096 by 4096 in a pixmap, and its heading.
pub(crate) const MOST: usize = (48 << 20) + 100;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The picture as a PNG.
///
/// # Errors
/// It is neither a PNG nor a pixmap of one byte for each colour: a sentence.
pub(crate) fn png(picture: Vec<u8>) -> Result<Vec<u8>, String> {
    if picture.starts_with(SIGNATURE) {
        return Ok(picture);
    }
    let (width, height, pixels) = pixmap(&picture).ok_or("its form is not known")?;
    let row = width as usize * 3;
    let packed = || -> std::io::Result<Vec<u8>> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        for row in pixels.chunks_exact(row) {
            // Each line begins with its filter; 0 is none.
            packed.write_all(&[0])?;
            packed.write_all(row)?;
        }
        packed.finish()
    };
    let packed = packed().map_err(|error| error.to_string())?;
    let mut out = SIGNATURE.to_vec();
    let mut head = Vec::with_capacity(13);
    head.extend(width.to_be_bytes());
    head.extend(height.to_be_bytes());
    // Eight bits for each of red, green and blue; the one way to pack and to filter; not interlaced.
    head.extend([8, 2, 0, 0, 0]);
    chunk(&mut out, b"IHDR", &head);
    chunk(&mut out, b"IDAT", &packed);
    chunk(&mut out, b"IEND", &[]);
    Ok(out)
}

/// A part of a PNG: its length, its kind, what is in it, and the checksum of both.
fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("pictures are bounded");
    out.extend(length.to_be_bytes());
    let from = out.len();
    out.extend(kind);
    out.extend(bytes);
    let mut crc = flate2::Crc::new();
    crc.update(&out[from..]);
    out.extend(crc.sum().to_be_bytes());
}

/// Width, height and pixels.
fn pixmap(picture: &[u8]) -> Option<(u32, u32, &[u8])> {
    let mut rest = picture.strip_prefix(b"P6")?;
    let mut number = || -> Option<u32> {
        loop {
            rest = rest.trim_ascii_start();
            // A comment goes to the end of its line.
            let Some(comment) = rest.strip_prefix(b"#") else { break };
            rest = &comment[comment.iter().position(|byte| *byte == b'\n')?..];
        }
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, after) = rest.split_at(end);
        rest = after;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let (width, height, most) = (number()?, number()?, number()?);
    let pixels = rest.get(1..)?;
    let length = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
    let whole = most == 255 && width > 0 && height > 0 && pixels.len() == length;
    whole.then_some((width, height, pixels))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pixmap_becomes_a_png_of_the_same_pixels() {
        let pixels: Vec<u8> = (0..2 * 3 * 3).collect();
        let text = [b"P6\n# QEMU\n2 3\n255\n".as_slice(), &pixels].concat();
        let made = png(text).unwrap();
        assert!(made.starts_with(SIGNATURE) && made.ends_with(b"IEND\xae\x42\x60\x82"));
        assert_eq!(&made[12..24], b"IHDR\0\0\0\x02\0\0\0\x03");
        let at = made.windows(4).position(|kind| kind == b"IDAT").unwrap();
        let mut plain = Vec::new();
        flate2::read::ZlibDecoder::new(&made[at + 4..]).read_to_end(&mut plain).unwrap();
        let rows: Vec<&[u8]> = plain.chunks(7).collect();
        assert_eq!(rows, pixels.chunks(6).map(|row| [&[0], row].concat()).collect::<Vec<_>>());
        assert_eq!(png(made.clone()).unwrap(), made);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for text in [
            "",
            "P6",
            "P6 1 1 255 ",
            "P6 1 1 65535 xxx",
            "P6 4294967295 4294967295 255 x",
            "P5 1 1 255 x",
            "P6 # no end",
            "P6 0 0 255 ",
        ] {
            assert!(png(text.into()).is_err(), "{text}");
        }
    }
}
