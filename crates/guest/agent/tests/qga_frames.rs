//! QG-30 and QG-39: framing, and what stays of a client that goes.
#![allow(clippy::unwrap_used)] // in a test the right report

mod qga;

use proptest::prelude::*;
use qga::{Agent, error_of};
use serde_json::json;
use vnode_agent::parser::qga::{
    frame::{Event, Framer},
    json::parse,
    write,
};

const PING: &[u8] = br#"{"execute":"guest-ping"}"#;

#[tokio::test]
async fn qg_30_no_newline_is_needed() {
    assert_eq!(Agent::new().ask(PING).await, json!({ "return": {} }));
}

#[tokio::test]
async fn qg_30_either_quote_will_do() {
    let answer = Agent::new().ask(b"{'execute':'guest-ping', 'id': 'it\\'s \"q\"'}").await;
    assert_eq!(answer, json!({ "return": {}, "id": "it's \"q\"" }));
}

#[tokio::test]
async fn qg_30_several_objects_in_one_write() {
    let mut agent = Agent::new();
    agent.send(&[PING, PING, b"\n", PING].concat()).await;
    for _ in 0..3 {
        assert_eq!(agent.line().await, b"{\"return\": {}}\n");
    }
}

#[tokio::test]
async fn qg_30_an_object_in_many_writes() {
    let mut agent = Agent::new();
    for byte in PING {
        agent.send(&[*byte]).await;
    }
    assert_eq!(agent.line().await, b"{\"return\": {}}\n");
}

#[tokio::test]
async fn qg_30_after_bad_input_good_input_is_answered() {
    for (bad, texts) in [
        (&b"garbage\n"[..], &["invalid keyword 'garbage'"][..]),
        (b"GARBAGE ", &["stray 'G'"]),
        (b"{\"a\" 1}", &["missing : in object pair"]),
        (b"{\"a\":1,}", &["expecting value"]),
        (b"{1:2}", &["key is not a string in object"]),
        (b"{\"a\":1,\"a\":2}", &["duplicate key"]),
        (b"{\"a\":\"\\q\"}", &["invalid escape sequence in string"]),
        (b"{\"a\":\"\xc3\"}", &["invalid UTF-8 sequence in string"]),
        (b"{\"a\":\"\\ud83d\"}", &["\\ud83d is not a valid Unicode character"]),
        (b"{\"a\":\"tab\there\"}", &["stray '\"tab\t'", "expecting value"]),
        (b"\x00", &["stray ''"]),
        (b"}", &["expecting value"]),
        // A partial object is dropped, and that is said.
        (b"{\"execute\":\"guest-ping\"\xff", &["stray '\u{fffd}'"]),
    ] {
        let mut agent = Agent::new();
        agent.send(&[bad, PING].concat()).await;
        for text in texts {
            let (class, said) = error_of(&agent.answer().await);
            assert_eq!(
                (class.as_str(), said),
                ("GenericError", format!("JSON parse error, {text}"))
            );
        }
        assert_eq!(
            agent.line().await,
            b"{\"return\": {}}\n",
            "after {:?}",
            String::from_utf8_lossy(bad)
        );
    }
}

#[tokio::test]
async fn qg_30_a_leading_delimiter_is_silent() {
    let mut agent = Agent::new();
    agent.send(&[b"\xff\xff", PING, b" \xff", PING, b"\xff"].concat()).await;
    for _ in 0..2 {
        assert_eq!(agent.line().await, b"{\"return\": {}}\n");
    }
}

#[tokio::test]
async fn qg_30_as_proxmox_asks() {
    let mut agent = Agent::new();
    let sync = br#"{"execute":"guest-sync-delimited","arguments":{"id":123401}}"#;
    agent.send(&[b"\xff", &sync[..], PING].concat()).await;
    assert_eq!(agent.line().await, b"\xff{\"return\": 123401}\n");
    assert_eq!(agent.line().await, b"{\"return\": {}}\n");
}

#[tokio::test]
async fn qg_30_a_request_of_a_mebibyte() {
    let mut agent = Agent::new();
    let id = "x".repeat(1 << 20);
    let (mut reading, context) = (Vec::new(), agent.context.clone());
    // The answer is as long as the request: who writes all before reading must not lock up.
    let request = json!({ "execute": "guest-ping", "id": id }).to_string();
    agent.send(request.as_bytes()).await;
    reading.extend(agent.line().await);
    let answer: serde_json::Value = serde_json::from_slice(&reading).unwrap();
    assert_eq!(answer["id"].as_str().unwrap().len(), 1 << 20);
    drop(context);
}

#[tokio::test]
async fn qg_30_a_request_too_long_is_refused_once_and_passed_over() {
    let mut agent = Agent::new();
    let piece = "x".repeat(1 << 20);
    agent.send(b"{\"execute\":\"guest-ping\",\"id\":\"").await;
    for _ in 0..20 {
        agent.send(piece.as_bytes()).await;
    }
    agent.send(b"\"}").await;
    agent.send(PING).await;
    let (_, text) = error_of(&agent.answer().await);
    assert_eq!(text, "JSON token size limit exceeded");
    assert_eq!(agent.line().await, b"{\"return\": {}}\n");
}

#[tokio::test]
async fn qg_30_an_answer_does_not_grow_beyond_its_request() {
    let mut agent = Agent::new();
    // Each of these is written as six characters.
    let long = "\u{7f}".repeat(1_500_000);
    let (_, text) =
        error_of(&agent.ask(format!("{{'execute':'guest-ping','id':'{long}'}}").as_bytes()).await);
    assert_eq!(text, "the id is too long to be given back");
    let (class, text) = error_of(&agent.ask(format!("{{'execute':'{long}'}}").as_bytes()).await);
    assert_eq!(class, "CommandNotFound");
    assert!(text.len() <= 64 << 10, "{}", text.len());
}

#[tokio::test]
async fn qg_30_deep_nesting() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    let mut agent = Agent::new();
    let id = format!("{{\"execute\":\"guest-ping\",\"id\":{}}}", nested(1023));
    agent.send(id.as_bytes()).await;
    assert!(agent.line().await.starts_with(b"{\"return\": {}, \"id\": [[["));
    agent.send("[".repeat(1025).as_bytes()).await;
    agent.send(PING).await;
    let (_, text) = error_of(&agent.answer().await);
    assert_eq!(text, "JSON nesting depth limit exceeded");
    assert_eq!(agent.line().await, b"{\"return\": {}}\n");
    let many = format!("{{\"execute\":\"guest-ping\",\"id\":[{}1]}}", "1,".repeat(100_000));
    let (_, text) = error_of(&agent.ask(many.as_bytes()).await);
    assert_eq!(text, "JSON token count limit exceeded");
}

#[tokio::test]
async fn qg_30_the_envelope_is_checked() {
    let mut agent = Agent::new();
    for (request, text) in [
        (&b"[]"[..], "QMP input must be a JSON object"),
        (b"123 ", "QMP input must be a JSON object"),
        (b"{}", "QMP input lacks member 'execute'"),
        (br#"{"execute":1}"#, "QMP input member 'execute' must be a string"),
        (
            br#"{"execute":"guest-ping","arguments":[]}"#,
            "QMP input member 'arguments' must be an object",
        ),
        (br#"{"execute":"guest-ping","foo":1}"#, "QMP input member 'foo' is unexpected"),
    ] {
        let (class, said) = error_of(&agent.ask(request).await);
        assert_eq!((class.as_str(), said.as_str()), ("GenericError", text));
    }
}

#[tokio::test]
async fn qg_30_answers_are_ascii() {
    let mut agent = Agent::new();
    agent
        .send("{\"execute\":\"guest-ping\",\"id\":\"\u{1f600} \u{e9}\\u0001\u{7f}\"}".as_bytes())
        .await;
    let line = agent.line().await;
    assert_eq!(line, b"{\"return\": {}, \"id\": \"\\uD83D\\uDE00 \\u00E9\\u0001\\u007F\"}\n");
}

#[tokio::test]
async fn qg_39_a_client_that_goes_leaves_nothing_behind() {
    let mut agent = Agent::new();
    agent.send(b"{\"execute\":\"guest-pi").await;
    agent.reconnect();
    assert_eq!(agent.ask(PING).await, json!({ "return": {} }));
}

/// What the scanner makes of bytes that come in these pieces.
fn events(pieces: &[&[u8]]) -> Vec<(Event, Vec<u8>)> {
    let mut framer = Framer::new(256, 16);
    let mut found = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = framer.next(&mut input) {
            let text = if event == Event::Message { framer.text().to_vec() } else { Vec::new() };
            found.push((event, text));
        }
        assert!(input.is_empty() && framer.text().len() <= 256);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// The fuzz target `qga` holds the same, for longer.
    #[test]
    fn qg_30_any_bytes(
        bytes in prop::collection::vec(
            prop_oneof![8 => prop::sample::select(&b"{}[]:,'\"\\ 0123-+.eEtruefalsnuxd8c"[..]), 1 => any::<u8>()],
            0..400,
        )
    ) {
        let whole = events(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &events(&single), "how bytes are cut makes no difference");
        for (event, text) in &whole {
            if *event != Event::Message {
                continue;
            }
            let Ok(value) = parse(text, 64) else { continue };
            let mut out = Vec::new();
            write::value(&mut out, &value);
            prop_assert!(out.is_ascii());
            prop_assert_eq!(parse(&out, 64), Ok(value), "what is written reads back");
        }
        let good = b"\xff{\"execute\":\"guest-ping\"}";
        let last = events(&[&bytes, good]).pop();
        prop_assert!(last.is_some_and(|(event, text)| event == Event::Message
            && parse(&text, 64).is_ok_and(|value| value["execute"] == "guest-ping")));
    }
}
