//! Image lists: identifiers are safe names of files and stand once, checksums have their form.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use vnode_imagelist::{ImageList, list, version};

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = ImageList::decode(bytes) else { return };
    assert!(list::is_identifier(&read.identifier));
    assert!(read.images.len() + read.dropped.len() <= list::MAX_IMAGES);
    let mut seen = BTreeSet::new();
    for image in &read.images {
        let name = &image.identifier;
        assert!(!name.contains('/') && name != "." && name != ".." && !name.is_empty());
        assert!(seen.insert(name), "{name} stands twice");
        assert_eq!(image.sha512.len(), 128);
        let (one, other) = (&image.version, &read.version);
        assert_eq!(version::compare(one, other), version::compare(other, one).reverse());
    }
});
