//! The byte protocol of the manager that ours succeeds: no panic; bounds kept; how the bytes are cut makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vnode_vnf::fuzz_legacy(bytes));
