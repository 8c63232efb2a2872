//! `.namespaces` and `.signing_policy` files: read without harm, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_imagelist::policy;

fuzz_target!(|text: &str| {
    let _ = policy::namespaces(text, Some("/CN=Own")).problem();
    let _ = policy::signing_policy(text).problem();
});
