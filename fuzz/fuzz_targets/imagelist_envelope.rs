//! Signed messages: whatever they are, without a trusted CA none is accepted.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use vnode_imagelist::{Anchors, Expected, Rules, TrustFolder, envelope, judge};

/// A trust folder without a file.
fn nobody() -> Arc<Anchors> {
    static NOBODY: OnceLock<Arc<Anchors>> = OnceLock::new();
    let make = || {
        let folder = std::env::temp_dir().join(format!("vnode-fuzz-trust-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder below the temporary one");
        let anchors = TrustFolder::new(&folder).anchors().expect("an empty folder is read");
        std::fs::remove_dir(&folder).expect("it is empty");
        anchors
    };
    Arc::clone(NOBODY.get_or_init(make))
}

fuzz_target!(|message: &[u8]| {
    if let Ok(parts) = envelope::split(message)
        && let Some(content) = parts.content
    {
        assert!(content.len() <= 2 * message.len());
    }
    let rules = Rules { allow_sha1: true, allow_any_eku: true, ..Rules::default() };
    let expected = Expected { rules, ..Expected::default() };
    let now = "2026-12-01T00:00:00Z".parse().expect("a time");
    let refusal = judge(message, &nobody(), &expected, now).expect_err("nobody is trusted");
    assert_eq!(refusal.exit_code(), 11);
});
