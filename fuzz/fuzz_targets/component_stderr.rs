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
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(compact) = json::compact(text.to_owned()) {
            let before: serde_json::Value = match serde_json::from_str(text) {
                Ok(value) => value,
                // Deeper than this parser goes, or a number it cannot hold.
                Err(_) => return,
            };
            assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), before);
        }
    }
});
