//! Archives built byte by byte, the wrong ones too.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
};

use vnode_vnfpkg::{Code, Limits, Package, Refused, Trust};

pub(crate) const LIFECYCLE: &str = r#"{"name":"fw","VNFprocess":"fwd","lifecycle_event":[{"event":"START","lifecycle_events":["start.sh"]}]}"#;
pub(crate) const SCRIPT: &[u8] = b"#!/bin/sh\ntrue\n";

/// A tar archive that is being made.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// The smallest package that does something.
    pub(crate) fn package() -> Self {
        Self::default().file("lifecycle.json", LIFECYCLE.as_bytes()).file("start.sh", SCRIPT)
    }

    pub(crate) fn of(descriptor: &str) -> Self {
        Self::default().file("lifecycle.json", descriptor.as_bytes())
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(name.as_bytes(), b'0', 0o644, "", data)
    }

    pub(crate) fn entry(self, name: &[u8], flag: u8, mode: u32, link: &str, data: &[u8]) -> Self {
        self.header(name, flag, mode, link, data.len() as u64).raw(data)
    }

    pub(crate) fn header(
        mut self,
        name: &[u8],
        flag: u8,
        mode: u32,
        link: &str,
        size: u64,
    ) -> Self {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0030071");
        block[116..123].copy_from_slice(b"0030071");
        if size < 1 << 33 {
            block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = flag;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self
    }

    /// Data, filled up to a whole block.
    pub(crate) fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            text += &format!("{length} {key}={value}\n");
        }
        self.entry(b"pax", b'x', 0o644, "", text.as_bytes())
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(bytes).expect("memory takes it");
    out.finish().expect("memory takes it")
}

/// An entry of a zip archive, with what its two headers may say differently.
pub(crate) struct Zipped<'a> {
    pub(crate) name: &'a str,
    pub(crate) local_name: Option<&'a str>,
    pub(crate) data: &'a [u8],
    pub(crate) flags: u16,
    pub(crate) mode: u32,
    pub(crate) local_size: Option<u32>,
}

impl<'a> Zipped<'a> {
    pub(crate) fn new(name: &'a str, data: &'a [u8]) -> Self {
        Self { name, local_name: None, data, flags: 0, mode: 0o100_644, local_size: None }
    }
}

pub(crate) fn zip(entries: &[Zipped<'_>]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = out.len() as u32;
        let mut crc = flate2::Crc::new();
        crc.update(entry.data);
        let size = entry.data.len() as u32;
        let fields = |size: u32| {
            [
                entry.flags.to_le_bytes().to_vec(),
                vec![0; 6],
                crc.sum().to_le_bytes().to_vec(),
                size.to_le_bytes().to_vec(),
                size.to_le_bytes().to_vec(),
            ]
            .concat()
        };
        let name = entry.local_name.unwrap_or(entry.name);
        out.extend(b"PK\x03\x04\x14\0");
        out.extend(fields(entry.local_size.unwrap_or(size)));
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(entry.data);
        list.extend(b"PK\x01\x02\x14\x03\x14\0");
        list.extend(fields(size));
        list.extend((entry.name.len() as u16).to_le_bytes());
        list.extend([0; 8]);
        list.extend((entry.mode << 16).to_le_bytes());
        list.extend(offset.to_le_bytes());
        list.extend(entry.name.as_bytes());
    }
    let begin = out.len() as u32;
    out.extend(&list);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((list.len() as u32).to_le_bytes());
    out.extend(begin.to_le_bytes());
    out.extend([0, 0]);
    out
}

pub(crate) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).expect("it can be written");
    file
}

pub(crate) fn open(bytes: &[u8]) -> Result<Package, Refused> {
    Package::open(&file_of(bytes), &Limits::default(), &Trust::default())
}

/// Which code the first problem has.
#[track_caller]
pub(crate) fn refused(bytes: &[u8]) -> Code {
    open(bytes).expect_err("it is to be refused").code()
}
