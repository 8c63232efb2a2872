//! Manifests, indexes and configurations of images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_image::config::ConfigFile;
use vnode_image::manifest::{Manifest, for_this_machine};

fuzz_target!(|data: &[u8]| {
    match Manifest::parse(data, 16) {
        Ok(Manifest::Image(image)) => assert!(image.layers.len() <= 16),
        Ok(Manifest::Disk(disk)) => drop(disk),
        Ok(Manifest::Index(entries)) => drop(for_this_machine(&entries)),
        Err(error) => drop(error.to_string()),
    }
    if let Ok(file) = ConfigFile::parse(data) {
        // What is stored in a record is read back from it.
        let text = serde_json_round_trip(&file.config);
        assert_eq!(text, file.config);
    }
});

fn serde_json_round_trip(config: &vnode_image::ImageConfig) -> vnode_image::ImageConfig {
    let text = serde_json::to_vec(config).expect("a configuration is JSON");
    serde_json::from_slice(&text).expect("its own JSON is a configuration")
}
