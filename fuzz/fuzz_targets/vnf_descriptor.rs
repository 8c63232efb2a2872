//! `lifecycle.json`: whatever is in it, it is understood or refused with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_vnfpkg::{Limits, descriptor};

fuzz_target!(|data: &[u8]| {
    if let Ok(checked) = descriptor(data, &Limits::default()) {
        assert!(vnode_vnfpkg::is_name(&checked.descriptor.name));
    }
});
