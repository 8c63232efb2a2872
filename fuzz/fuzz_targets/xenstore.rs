//! XenStore messages: whatever bytes come in whatever pieces, they are read the same; a store takes any message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_xenstore::{
    memory::{Limits, Store},
    path,
    wire::{Kind, Message, PAYLOAD_MAX, Part, strings},
};

fn all(buffer: &mut Vec<u8>) -> (Vec<Message>, bool) {
    let mut messages = Vec::new();
    loop {
        match Message::take(buffer) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, true),
            Err(_) => return (messages, false),
        }
    }
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (whole, good) = all(&mut bytes.to_vec());
    let (first, rest) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut buffer = first.to_vec();
    let (mut pieces, still) = all(&mut buffer);
    if still {
        buffer.extend_from_slice(rest);
        let (more, end) = all(&mut buffer);
        pieces.extend(more);
        assert_eq!(end, good);
    }
    assert_eq!(pieces, whole, "how bytes are cut makes no difference");
    let again: Vec<u8> = whole.iter().flat_map(Message::encode).collect();
    assert!(bytes.starts_with(&again), "what is read is written the same");

    let mut store = Store::new(Limits::default());
    store.introduce(5);
    let guest = store.connect(5);
    for message in whole.iter().take(200) {
        assert!(message.payload.len() <= PAYLOAD_MAX);
        let _ = message.errno();
        let _ = strings(&message.payload).count();
        if let Some(part) = Part::decode(&message.payload) {
            assert!(part.last || part.bytes > 0, "it would be asked for ever");
            assert!(part.bytes <= message.payload.len());
        }
        if let Ok(text) = std::str::from_utf8(&message.payload)
            && path::is_valid(text)
        {
            assert!(path::is_within(text, text));
        }
        store.handle(guest, message);
        let answers = store.take(guest);
        let replies = answers.iter().filter(|m| m.kind != Kind::WatchEvent as u32).count();
        assert_eq!(replies, 1, "every message has one answer");
        assert!(answers.iter().all(|m| m.payload.len() <= PAYLOAD_MAX + 128));
        assert!(store.nodes_of(5) <= 1000);
    }
});
