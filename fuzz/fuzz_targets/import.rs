//! Other tools' files: no panic; what is taken is a topology file, and what is refused has a reason.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vnode_topology::{Beside, Format, Input, Name, import};

fuzz_target!(|input: (u8, &str)| {
    let (which, text) = input;
    let (_, format) = Format::ALL[usize::from(which) % Format::ALL.len()];
    let input = Input { text, file: "lab", folder: Path::new("/labs/one") };
    // Whatever a file names lies beside it, as a folder or as a file.
    let beside = |name: &str| Some(if name.contains('.') { Beside::File } else { Beside::Folder });
    match import(format, input, Name { asked: None, otherwise: "lab" }, &beside) {
        Ok(imported) => {
            for one in &imported.unmapped {
                drop(one.to_string());
            }
        }
        Err(rejected) => {
            assert!(!rejected.errors.is_empty(), "refused without a reason");
            drop(rejected.to_string());
        }
    }
});
