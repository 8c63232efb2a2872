//! Headers of disks: no panic, and a disk that is taken names no backing or data file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_imagelist::disk::{Format, probe};

fuzz_target!(|head: &[u8]| {
    let Ok(disk) = probe(head) else { return };
    match disk.format {
        Format::Qcow2 => {
            assert!(head[8..20].iter().all(|b| *b == 0), "a backing file");
            let version = head[7];
            assert!(version == 2 || head[79] & 4 == 0, "an external data file");
        }
        Format::Vmdk => assert!(head.windows(6).any(|w| w.eq_ignore_ascii_case(b"sparse"))),
        _ => {}
    }
});
