//! Topology files: no panic; a lab that is written and read back is the same; drawings are made of any.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use vnode_topology::{Input, NodeChange, World, export, export_clab, graph, parse};

/// A few variables, a checkout, and one file that holds variables.
struct Given;

impl World for Given {
    fn env(&self, name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            "HOME" => Some("/root".to_owned()),
            _ => None,
        }
    }
    fn all_env(&self) -> Vec<(String, String)> {
        vec![("A".to_owned(), "a".to_owned())]
    }
    fn git_branch(&self) -> Option<String> {
        Some("main/x".to_owned())
    }
    fn git_hash(&self) -> Option<String> {
        None
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        if path.ends_with("env") {
            Ok("A=b\nbad\n".to_owned())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

fn read(text: &str) -> Result<vnode_topology::Parsed, vnode_topology::Rejected> {
    parse(Input { text, file: "lab.clab.yml", folder: Path::new("/labs/one") }, &Given)
}

fuzz_target!(|text: &str| {
    let parsed = match read(text) {
        Ok(parsed) => parsed,
        Err(rejected) => {
            assert!(!rejected.errors.is_empty(), "refused without a reason");
            drop(rejected.to_string());
            return;
        }
    };
    for warning in &parsed.warnings {
        drop(warning.to_string());
    }
    let lab = parsed.lab;
    let whole = export(&lab);
    let again = read(&whole).unwrap_or_else(|rejected| panic!("{rejected}\n{whole}")).lab;
    assert_eq!(again, lab, "\n{whole}");
    for (old, new) in lab.nodes.iter().zip(&again.nodes) {
        assert_eq!(old.change_to(new), NodeChange::Nothing);
    }
    let strict = export_clab(&lab);
    read(&strict).unwrap_or_else(|rejected| panic!("{rejected}\n{strict}"));
    drop((graph::svg(&lab), graph::mermaid(&lab), graph::dot(&lab)));
});
