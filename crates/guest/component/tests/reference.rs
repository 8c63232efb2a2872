//! The published man pages of the verbs are this program's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

use std::path::Path;

use clap::Args as _;
use vnode_component::cli::Args;

#[test]
fn the_published_man_pages_of_the_verbs_are_this_programs() {
    let mut command = Args::augment_args(clap::Command::new("vnode-agent-component"));
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name: &'static str = format!("vnode-agent-component-{}", verb.get_name()).leak();
        // As it is called, in the synopsis.
        let line = format!("vnode-agent component {}", verb.get_name());
        let mut page = Vec::new();
        clap_mangen::Man::new(verb.clone().display_name(name).bin_name(line))
            .title(name.to_uppercase())
            .source("vnode")
            .manual("vnode")
            .render(&mut page)
            .unwrap();
        held(&format!("docs/reference/man-agent/{name}.8"), &String::from_utf8(page).unwrap());
    }
}

/// Compares a committed file with what is made now; writes it with VNODE_WRITE_REFERENCE=1.
fn held(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(name);
    if std::env::var_os("VNODE_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == made,
        "{name} is not up to date; run this test with VNODE_WRITE_REFERENCE=1"
    );
}
