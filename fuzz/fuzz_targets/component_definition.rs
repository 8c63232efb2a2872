//! Definition files of components: any bytes are read or refused with a line of theirs; what is read can be served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_component::{
    definition::{Component, Instance, Severity},
    ini::Document,
    names,
};

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    if let Ok(document) = Document::read(bytes) {
        for section in document.sections() {
            for key in section.keys() {
                assert!(key.line <= lines);
                assert!(document.get(section, &key.name).is_some());
            }
        }
    }
    match Instance::read(bytes) {
        Ok(read) => {
            assert!(read.value.names().iter().all(|name| names::is_bus_name(name)));
            for rpc in read.value.models.iter().flat_map(|model| &model.rpcs) {
                assert!(names::unusable(&rpc.module, &rpc.name).is_none());
                assert!(!rpc.command.argv.is_empty());
            }
        }
        Err(invalid) => {
            assert!(invalid.findings.iter().any(|finding| finding.severity == Severity::Error));
            assert!(invalid.findings.iter().all(|finding| finding.line <= lines));
        }
    }
    if let Ok(read) = Component::read(bytes) {
        assert!(!read.value.name.is_empty());
    }
});
