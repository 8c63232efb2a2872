//! What a failed script printed: whatever it is, an error comes of it that the bus can carry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_component::{json, rpc_error::RpcError, stderr};

fuzz_target!(|bytes: &[u8]| {
    let error = stderr::decode(bytes, "how").error;
    assert!(RpcError::is_type(&error.error_type));
    assert!(!error.tag.is_empty() && !error.severity.is_empty());
    let texts = [&error.tag, &error.severity, &error.app_tag, &error.path, &error.message];
    assert!(texts.iter().all(|text| !text.contains('\0')));
    for ((namespace, name), value) in &error.info {
        assert!(![namespace, name, value].iter().any(|text| text.contains('\0')));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(compact) = json::compact(text.to_owned())
        // Else it is deeper than this parser goes, or has a number that it cannot hold.
        && let Ok(before) = serde_json::from_str::<serde_json::Value>(text)
    {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).ok(), Some(before));
    }
});
