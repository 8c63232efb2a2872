//! QEMU's guest agent form: no panic; bounds kept; how the bytes are cut makes no difference; a leading 0xFF and a
//! good request are answered after whatever came before; what is written is JSON that reads back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_agent::parser::qga::{
    frame::{Event, Framer},
    json, write,
};

const MOST: usize = 4096;
const GOOD: &[u8] = b"\xff{\"execute\":\"guest-ping\"}";

fn events(pieces: &[&[u8]]) -> Vec<(Event, Vec<u8>)> {
    let mut framer = Framer::new(MOST, 64);
    let mut found = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = framer.next(&mut input) {
            assert!(framer.text().len() <= MOST);
            let text = if event == Event::Message { framer.text().to_vec() } else { Vec::new() };
            found.push((event, text));
        }
        assert!(input.is_empty() && framer.text().len() <= MOST);
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    let whole = events(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, events(&single));
    for (event, text) in &whole {
        if *event != Event::Message {
            continue;
        }
        let Ok(value) = json::parse(text, 256) else { continue };
        let mut out = Vec::new();
        write::value(&mut out, &value);
        assert!(out.is_ascii());
        let mut input = &*out;
        let mut framer = Framer::new(64 * MOST, 64);
        // Only what has a bracket, a quote or a word ends by itself; a number waits for its end.
        if framer.next(&mut input).is_some() {
            assert_eq!(json::parse(framer.text(), 256).as_ref(), Ok(&value));
        }
    }
    let last = events(&[bytes, GOOD]).pop();
    let (event, text) = last.expect("a good request is always seen");
    assert_eq!(event, Event::Message);
    let value = json::parse(&text, 256).expect("a good request is read");
    assert_eq!(value["execute"], "guest-ping");
});
