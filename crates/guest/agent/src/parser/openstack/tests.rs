use serde_json::json;

use super::*;
use crate::{
    command::{Command, Policy, Registry},
    context::Context,
    limits::Budget,
};

/// Gives back what it was asked, or fails.
#[derive(Debug)]
struct Stand {
    name: &'static str,
    gives: fn(Value) -> Result<Value, CommandError>,
}

impl Command for Stand {
    fn name(&self) -> &str {
        self.name
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        _: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        let result = (self.gives)(value);
        Box::pin(async { result })
    }
}

async fn ask_with(commands: Vec<Stand>, body: Option<&[u8]>, limit: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    for command in commands {
        registry.insert(Box::new(command));
    }
    let commands = Arc::new(registry.for_form(
        Form::Openstack,
        &Policy { block: vec!["blocked".to_owned()], ..Policy::default() },
    ));
    let context = Context::builder(dir.path()).build().unwrap();
    let session = Session {
        context: context.for_channel("test", Arc::clone(&commands)),
        commands,
        limits: crate::config::ParserConfig::Openstack.limits(),
        budget: Budget::default(),
    };
    let answer = parser().unwrap().handle(body, limit, &session).await;
    String::from_utf8(answer.body).unwrap()
}

/// The answer of an agent whose `version` is 1.39.1 and whose other commands misbehave in their ways.
async fn ask(body: impl AsRef<[u8]>) -> String {
    let commands = vec![
        Stand { name: "version", gives: |_| Ok(json!("1.39.1")) },
        Stand { name: "echo", gives: |v| Ok(json!(v.to_string())) },
        Stand { name: "raises", gives: |_| Err(CommandError::failed("it broke: \"é\"\r\n")) },
        Stand { name: "wants404", gives: |_| Err(CommandError::failed("none").with_code("404")) },
        Stand { name: "d0", gives: |_| Ok(json!({"returncode": "D0", "message": "12345"})) },
        Stand { name: "blocked", gives: |_| Ok(json!("not to be had")) },
        Stand { name: "long", gives: |_| Ok(json!("é\"x".repeat(5000))) },
        Stand { name: "none", gives: |_| Ok(json!("None")) },
    ];
    ask_with(commands, Some(body.as_ref()), 1999).await
}

#[tokio::test]
async fn jp_1_no_body() {
    assert_eq!(
        ask_with(Vec::new(), None, 1999).await,
        r#"{"message": "Internal error with request", "returncode": "500"}"#
    );
}

#[tokio::test]
async fn jp_2_a_malformed_body() {
    assert_eq!(ask("abc").await, r#"{"message": "Request is malformed", "returncode": "500"}"#);
}

#[tokio::test]
async fn jp_3_no_name() {
    assert_eq!(
        ask(r#"{"value":""}"#).await,
        r#"{"message": "Request is missing 'name' key", "returncode": "500"}"#
    );
}

#[tokio::test]
async fn jp_4_an_unknown_command() {
    assert_eq!(
        ask(r#"{"name": "<unknown_command>", "value": ""}"#).await,
        r#"{"message": "No such agent command '<unknown_command>'", "returncode": "404"}"#
    );
}

/// UC-1: running an unknown command is an error of its own kind.
#[tokio::test]
async fn uc_1_an_unknown_command_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let context = Context::builder(dir.path()).build().unwrap();
    let commands = Registry::default().for_form(Form::Openstack, &Policy::default());
    let called = commands.call(&context, "<unknown_command>", Value::Null).await;
    assert_eq!(called.result.unwrap_err().class(), Class::Unknown);
}

/// Every row of the behaviour table, with R-J1 and R-J2.
#[tokio::test]
async fn jp_5_the_behaviour_table() {
    let version = r#"{"message": "1.39.1", "returncode": "0"}"#;
    let malformed = r#"{"message": "Request is malformed", "returncode": "500"}"#;
    let no_name = r#"{"message": "Request is missing 'name' key", "returncode": "500"}"#;
    let unknown = |name: &str| {
        format!(r#"{{"message": "No such agent command '{name}'", "returncode": "404"}}"#)
    };
    let rows: &[(&[u8], String)] = &[
        (br#"{"name":"version","value":"agent"}"#, version.into()),
        (br#"{"name":"version"}"#, version.into()),
        (br#"{"name":"version","value":null}"#, version.into()),
        (br#"{"name":"a","name":"version"}"#, version.into()),
        (b" {\"name\":\"version\"} \n", version.into()),
        (br#"{"other":[1,{"x":2}],"name":"version"}"#, version.into()),
        (b"abc", malformed.into()),
        (b"", malformed.into()),
        (b"\xff\xfe", malformed.into()),
        (b"{\"name\":\"version\",\"value\":\"\xff\"}", malformed.into()),
        (br#"{"name":"version"} x"#, malformed.into()),
        (b"{}", no_name.into()),
        (br#"{"value":1}"#, no_name.into()),
        (br#"{"name":"nope"}"#, unknown("nope")),
        (br#"{"name":"VERSION"}"#, unknown("VERSION")),
        (br#"{"name":""}"#, unknown("")),
        (br#"{"name":null}"#, malformed.into()),
        (br#"{"name":[]}"#, malformed.into()),
        (br#"{"name":7}"#, malformed.into()),
        (b"[1]", malformed.into()),
        (b"null", malformed.into()),
        (b"5", malformed.into()),
        (b"\"str\"", malformed.into()),
        ("{\"name\":\"é😀\"}".as_bytes(), unknown("\\u00e9\\ud83d\\ude00")),
        (br#"{"name":"blocked"}"#, unknown("blocked")),
        (
            br#"{"name":"raises"}"#,
            r#"{"message": "it broke: \"\u00e9\"\n", "returncode": "500"}"#.into(),
        ),
        (br#"{"name":"wants404"}"#, r#"{"message": "none", "returncode": "404"}"#.into()),
        (br#"{"name":"d0"}"#, r#"{"message": "12345", "returncode": "D0"}"#.into()),
    ];
    for (body, expected) in rows {
        assert_eq!(&ask(body).await, expected, "{}", String::from_utf8_lossy(body));
    }
}

/// R-J4: no number passes through floating point.
#[tokio::test]
async fn jp_6_large_numbers_are_kept_exactly() {
    let echoed = |text: &str| format!(r#"{{"message": "{text}", "returncode": "0"}}"#);
    let ask = async |value: &str| ask(format!(r#"{{"name":"echo","value":{value}}}"#)).await;
    let key = "162259276829213363391578010288126";
    assert_eq!(ask(key).await, echoed(&format!("\\\"{key}\\\"")));
    assert_eq!(ask(&format!("-{key}")).await, echoed(&format!("\\\"-{key}\\\"")));
    assert_eq!(ask("18446744073709551615").await, echoed("18446744073709551615"));
    assert_eq!(ask("-5").await, echoed("-5"));
    assert_eq!(ask("12.9").await, echoed("12.9"));
    assert_eq!(ask("[1,2]").await, echoed("[1,2]"));
}

/// R-J6: nesting and size.
#[tokio::test]
async fn jp_7_too_deep_and_too_long() {
    let nested = |depth: usize| {
        format!(r#"{{"name":"version","value":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert!(ask(nested(63)).await.contains("1.39.1"));
    assert!(ask(nested(64)).await.contains("malformed"));
    assert!(ask(nested(5000)).await.contains("malformed"));
    let sized = |bytes: usize| {
        let frame = r#"{"name":"version","value":""}"#.len();
        format!(r#"{{"name":"version","value":"{}"}}"#, "x".repeat(bytes - frame))
    };
    assert!(ask(sized(64 << 10)).await.contains("1.39.1"));
    assert!(ask(sized((64 << 10) + 1)).await.contains("malformed"));
}

/// XS-9 and R-X7, the parser's side.
#[tokio::test]
async fn xs_09_a_long_message_is_cut_and_stays_json() {
    let answer = ask(r#"{"name":"long"}"#).await;
    assert!(answer.len() <= 1999 && answer.len() > 1980, "{}", answer.len());
    let value: Value = serde_json::from_str(&answer).unwrap();
    let message = value["message"].as_str().unwrap();
    assert!(message.ends_with("..."));
    assert!("é\"x".repeat(5000).starts_with(message.trim_end_matches("...")));
    for limit in 60..120 {
        let answer = response("500", &"a\u{1F600}".repeat(30), limit);
        assert!(answer.len() <= limit, "{limit}: {answer}");
        serde_json::from_str::<Value>(&answer).unwrap();
    }
    let fits = response("0", &"x".repeat(100), 100 + 34);
    assert!(fits.len() == 134 && !fits.contains("..."), "{fits}");
}

/// XS-14: never the bare text `None`.
#[tokio::test]
async fn xs_14_an_answer_is_always_an_object() {
    assert_eq!(ask(r#"{"name":"none"}"#).await, r#"{"message": "None", "returncode": "0"}"#);
}

#[test]
fn a_request_is_shown_without_its_value() {
    let request = read(br#"{"name":"password","value":"secret"}"#, &Limits::default()).unwrap();
    assert!(!format!("{request:?}").contains("secret"));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_answered(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = read(&body, &Limits::default());
    }

    #[test]
    fn answers_are_ascii_json(message: String, code: String, limit in 80usize..400) {
        let code: String = code.chars().take(4).collect();
        let answer = response(&code, &message, limit);
        proptest::prop_assert!(answer.is_ascii());
        proptest::prop_assert!(answer.len() <= limit);
        serde_json::from_str::<Value>(&answer).unwrap();
    }
}
