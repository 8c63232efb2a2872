//! The published man pages of the verbs are this program's.

use std::path::Path;

use clap::Args as _;
use vnode_vnf::cli::Args;

#[test]
fn the_published_man_pages_of_the_verbs_are_this_programs() {
    let mut command = Args::augment_args(clap::Command::new("vnode-agent-vnf"));
    command.build();
    let shown = |verb: &&clap::Command| verb.get_name() != "help" && !verb.is_hide_set();
    for verb in command.get_subcommands().filter(shown) {
        let name: &'static str = format!("vnode-agent-vnf-{}", verb.get_name()).leak();
        // As it is called, in the synopsis.
        let line = format!("vnode-agent vnf {}", verb.get_name());
        let mut page = Vec::new();
        clap_mangen::Man::new(verb.clone().display_name(name).bin_name(line))
            .title(name.to_uppercase())
            .source("vnode")
            .manual("vnode")
            .render(&mut page)
            .expect("memory takes it");
        let made = String::from_utf8(page).expect("a page is text");
        held(&format!("docs/reference/man-agent/{name}.8"), &made);
    }
}

/// Compares a committed file with what is made now; writes it with VNODE_WRITE_REFERENCE=1.
fn held(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(name);
    if std::env::var_os("VNODE_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, made).expect("it can be written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == made,
        "{name} is not up to date; run this test with VNODE_WRITE_REFERENCE=1"
    );
}
