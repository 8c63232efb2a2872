//! A fork of this program is what each monitor, first process and exec of a node begins as.

include!("one_block.rs");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=one_block.rs");
    link_as_one_block("vnode-monitor");
}
