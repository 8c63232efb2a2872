//! Answers of an OpenNebula server: read without harm, in bounded memory; what is read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_opennebula::{image::Image, rpc, xml};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(rpc::Value::Text(text)) = rpc::answer(bytes) {
        images(&text);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    images(text);
    let back = xml::read(&format!("<A>{}</A>", xml::escape(text))).expect("escaped text is text");
    assert!(back.children.is_empty());
});

fn images(text: &str) {
    // What is no list of images is an error, and no panic.
    let _ = xml::each_child(text, |element| {
        let image = Image::read(element)?;
        let template = xml::read(&image.template_text())?;
        assert!(template.children.len() <= image.template.len());
        Ok(())
    });
}
