//! CRLs of a trust folder, PEM or DER: no panic, and an issuer that is printable as names are compared.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_imagelist::crl_issuer;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(issuer) = crl_issuer(bytes) {
        assert!(issuer.bytes().all(|b| (0x20..0x7f).contains(&b)), "{issuer:?}");
    }
});
