//! Names of images: read back from their text they are the same; folder names are safe.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_image::{Reference, safe_name};

fuzz_target!(|text: &str| {
    let name = safe_name(text);
    assert!(name.len() < 100 && !name.starts_with('.'));
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')));
    let Ok(reference) = Reference::parse(text) else { return };
    for form in [reference.clone(), reference.normalised("docker.io")] {
        let again = Reference::parse(&form.to_string()).expect("its own text is a name");
        assert_eq!(again, form);
    }
});
