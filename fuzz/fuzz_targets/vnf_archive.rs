//! Packages in every packing: none names a path outside itself, and the bounds hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "vnf/package.rs"]
mod package;

fuzz_target!(|data: &[u8]| package::open(data));
