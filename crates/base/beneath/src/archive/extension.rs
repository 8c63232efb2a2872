//! Pax extended headers: what they add to, or say instead of, the header that follows.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

#[derive(Default)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<u64>,
    pub(super) attributes: Vec<(OsString, Vec<u8>)>,
    pub(super) sparse: Option<Sparse>,
}

/// `GNU.sparse.*`.
#[derive(Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
}

impl Extension {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
    pub(super) fn read_pax(&mut self, mut rest: &[u8]) -> Result<(), &'static str> {
        const DAMAGED: &str = "pax record";
        while !rest.is_empty() {
            let space = rest.iter().take(20).position(|b| *b == b' ').ok_or(DAMAGED)?;
            let length = decimal(&rest[..space])
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > space + 1 && *n <= rest.len())
                .ok_or(DAMAGED)?;
            let (record, after) = rest.split_at(length);
            rest = after;
            let record = record[space + 1..].strip_suffix(b"\n").ok_or(DAMAGED)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or(DAMAGED)?;
            self.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = |what| decimal(value).ok_or(what);
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number("pax size")?),
            b"uid" => self.uid = Some(number("pax uid")?),
            b"gid" => self.gid = Some(number("pax gid")?),
            // Seconds with a fraction; before 1970 is taken for 1970.
            b"mtime" => {
                let whole = value.split(|b| *b == b'.').next().unwrap_or_default();
                self.mtime = Some(decimal(whole).unwrap_or(0));
            }
            b"GNU.sparse.major" => self.sparse().major = Some(number("GNU.sparse.major")?),
            b"GNU.sparse.name" => self.sparse().name = Some(value.to_vec()),
            b"GNU.sparse.realsize" => {
                self.sparse().real_size = Some(number("GNU.sparse.realsize")?);
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse();
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attributes.push((OsString::from_vec(name.to_vec()), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn sparse(&mut self) -> &mut Sparse {
        self.sparse.get_or_insert_default()
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
