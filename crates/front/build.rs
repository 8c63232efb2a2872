//! `vnode` itself, the front that most often does all by itself, is small and starts fast.

include!("../host/monitor/one_block.rs");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../host/monitor/one_block.rs");
    link_as_one_block("vnode");
}
