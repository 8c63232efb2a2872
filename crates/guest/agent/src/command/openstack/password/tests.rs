use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command as Program,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use vnode_action::{CancellationToken, Output};

use super::{cipher::Derivation, *};
use crate::{
    command::{CommandSet, Policy, Registry},
    context::{Clock, Programs},
};

/// Seconds since 1970, set by the test: day 20000 at first.
#[derive(Debug, Clone)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(20000 * 24 * 3600)))
    }

    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

const SHADOW: &str = "root:$y$j9T$abcdefgh$hash:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n";

struct Guest {
    dir: tempfile::TempDir,
    context: Context,
    commands: Arc<CommandSet>,
    hands: Hands,
}

impl Guest {
    fn new() -> Self {
        Self::with(Value::Null)
    }

    fn with(options: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let hands = Hands::new();
        let mut builder = Context::builder(dir.path()).clock(hands.clone());
        if !options.is_null() {
            builder = builder.options("password", options);
        }
        let commands = Arc::new(Registry::built_in().for_form(Form::Openstack, &Policy::default()));
        let context = builder.build().unwrap().for_channel("one", Arc::clone(&commands));
        let guest = Self { dir, context, commands, hands };
        guest.write("etc/shadow", SHADOW);
        guest
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.dir.path().join(path), text).unwrap();
    }

    fn shadow(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("etc/shadow")).unwrap()
    }

    /// Return code and message.
    async fn call(&self, name: &str, value: Value) -> (String, String) {
        match self.commands.call(&self.context, name, value).await.result {
            Ok(Value::String(message)) => ("0".to_owned(), message),
            Ok(value) => {
                let text = |name: &str| value[name].as_str().unwrap().to_owned();
                (text("returncode"), text("message"))
            }
            Err(error) => ("500".to_owned(), error.message().to_owned()),
        }
    }

    async fn password(&self, ciphertext: &str) -> (String, String) {
        self.call("password", ciphertext.into()).await
    }

    /// As if a key exchange had led to this number.
    fn share(&self, digits: &str) {
        let key = Key {
            shared: Number::from_digits(digits).unwrap(),
            since: self.context.now(),
            failures: 0,
        };
        self.context.state::<Keys>().put("one", key);
    }
}

fn fails(text: &str) -> (String, String) {
    ("500".to_owned(), text.to_owned())
}

fn done() -> (String, String) {
    ("0".to_owned(), String::new())
}

fn field(shadow: &str, user: &str) -> String {
    let line = shadow.lines().find(|l| l.starts_with(&format!("{user}:"))).unwrap();
    line.split(':').nth(1).unwrap().to_owned()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const V1_SHARED: &str = "91827863428812414255720067064609";

/// `openssl` as clients call it, `None` where it is not installed.
fn openssl(arguments: &[&str], password: &str, input: &str) -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "the other side of the exchange, in a test")]
    let mut child = Program::new("openssl")
        .args(["enc", "-aes-128-cbc", "-a", "-nosalt", "-pass"])
        .arg(format!("pass:{password}"))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    Some(String::from_utf8(out.stdout).unwrap())
}

#[tokio::test]
async fn pw_2_a_client_with_openssl() {
    let secret = 316_059_037_807_746_189_465;
    let public = Number::public_key(secret);
    for (digest, lines) in [("md5", "0"), ("sha256", "1")] {
        let guest = Guest::new();
        let value = public.digits().as_str().into();
        let (code, message) = guest.call("keyinit", value).await;
        assert_eq!(code, "D0");
        let shared = Number::from_digits(&message).unwrap().power(secret);
        let arguments: &[&str] =
            if lines == "1" { &["-md", digest, "-A"] } else { &["-md", digest] };
        let Some(text) = openssl(arguments, &shared.digits(), "TeStPaSsWoRd\n") else {
            vnode_testkit::skip("the program `openssl` is not installed");
            return;
        };
        assert_eq!(guest.password(&text).await, done());
        assert!(hash::verifies("TeStPaSsWoRd", &field(&guest.shadow(), "root")), "{digest}");
    }
}

#[tokio::test]
async fn pw_3_a_password_without_a_key() {
    let guest = Guest::new();
    let text = openssl(&["-md", "md5"], "123456789", "PaSsWoRdTeSt").unwrap_or("AAAA".into());
    assert_eq!(guest.password(&text).await, fails("Password without key exchange"));
    assert_eq!(guest.shadow(), SHADOW);
}

#[tokio::test]
async fn pw_4_no_base64() {
    let guest = Guest::new();
    guest.share(V1_SHARED);
    for value in [json!("kjadfkjaf"), json!(null), json!(5), json!(["YQ=="])] {
        assert_eq!(guest.call("password", value).await, fails("Couldn't decode base64 data"));
    }
    for empty in ["", "!!!"] {
        assert_eq!(guest.password(empty).await.0, "500");
    }
    let guest = Guest::new();
    guest.share(V1_SHARED);
    assert_eq!(guest.password("YWJj").await.0, "500", "no whole block");
}

/// PW-5: without a newline; V5 is one of those.
#[tokio::test]
async fn pw_5_without_a_newline() {
    let guest = Guest::new();
    guest.share("132106719668997102905222648373713");
    assert_eq!(guest.password("FDzDnmBQpG/CI42vuvdyBQ==").await, done());
    assert!(hash::verifies("no-newline", &field(&guest.shadow(), "root")));
}

#[tokio::test]
async fn pw_6_all_vectors_in_both_derivations() {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for vector in vectors()["vectors"].as_array().unwrap() {
        let name = text(&vector["name"]);
        let number = |key: &str| Number::from_digits(&text(&vector[key])).unwrap();
        let secret = |key: &str| text(&vector[key]).parse::<u128>().unwrap();
        assert!(Number::public_key(secret("a")) == number("A"), "{name}");
        assert!(Number::public_key(secret("b")) == number("B"), "{name}");
        assert!(number("A").power(secret("b")) == number("shared"), "{name}");
        assert!(number("B").power(secret("a")) == number("shared"), "{name}");
        for (key, how) in [("md5", Derivation::Md5), ("sha256", Derivation::Sha256)] {
            let given = &vector[key];
            let Some(ciphertext) = given["ciphertext"].as_str() else { continue };
            let (secret, iv) = cipher::derive(&number("shared"), how);
            if let Some(expected) = given["key"].as_str() {
                assert_eq!(
                    (hex(&*secret), hex(&*iv)),
                    (expected.into(), text(&given["iv"])),
                    "{name}"
                );
            }
            let bytes = base64::decode(ciphertext).unwrap();
            let plain = cipher::plaintext(&number("shared"), &bytes, how).unwrap();
            assert_eq!(hex(&plain), text(&vector["plaintext_hex"]), "{name}");
            let guest = Guest::new();
            guest.share(&text(&vector["shared"]));
            if name == "V6" {
                assert_eq!(guest.password(ciphertext).await, fails(NO_PASSWORD), "empty");
                assert_eq!(guest.shadow(), SHADOW);
                continue;
            }
            assert_eq!(guest.password(ciphertext).await, done(), "{name} {key}");
            let expected = String::from_utf8(plain.to_vec()).unwrap();
            let field = field(&guest.shadow(), "root");
            assert!(hash::verifies(expected.trim_matches('\n'), &field), "{name} {key}");
        }
        if name == "V7" {
            let guest = Guest::new();
            let answer = guest.call("keyinit", vector["A"].clone()).await;
            assert_eq!(answer, fails("Invalid public key"), "a weak key");
        }
    }
}

#[tokio::test]
async fn pw_7_padding_is_checked_whole() {
    for bad in [
        "qPdisA79sFappFuXVQ8SMQ==",
        "RZg0T0c4vbf0zg3N4O8k+g==",
        "Kh9iv5tqjPjxpSfIXAsyTA==",
        "Gvmo8hT7Vma2t6Lbl8Qf6w==",
    ] {
        let guest = Guest::new();
        guest.share(V1_SHARED);
        assert_eq!(guest.password(bad).await, fails(NO_PASSWORD), "{bad}");
        assert_eq!(guest.shadow(), SHADOW);
    }
}

#[tokio::test]
async fn pw_8_every_kind_of_line() {
    let rest = "daemon:*:19000:0:99999:7:::\nnobody:!:1::::::";
    for old in ["$y$j9T$abcdefgh$hash", "$6$rounds=5000$salt$x", "!", "*", "", "$2b$05$x"] {
        let guest = Guest::new();
        guest.write("etc/shadow", &format!("root:{old}:19000:0:99999:7:::\n{rest}"));
        let path = guest.dir.path().join("etc/shadow");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&path, Some(0), Some(42)).unwrap();
        }
        guest.share(V1_SHARED);
        assert_eq!(guest.password("+isVoWgEZ+GvEloIYoLnxg==").await, done());
        let shadow = guest.shadow();
        let line = shadow.lines().next().unwrap();
        let hash = field(&shadow, "root");
        assert!(hash.starts_with("$6$") && hash::verifies("TeStPaSsWoRd", &hash), "{old}");
        assert!(line.ends_with(":20000:0:99999:7:::"), "today: {line}");
        assert!(shadow.ends_with(&format!("\n{rest}")), "others are as they were");
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        assert!(!root || metadata.gid() == 42);
    }
    let guest = Guest::with(json!({"user": "admin"}));
    guest.share(V1_SHARED);
    assert_eq!(guest.password("+isVoWgEZ+GvEloIYoLnxg==").await, fails("User admin not found"));
    assert_eq!(guest.shadow(), SHADOW);
    assert_eq!(names(&guest.dir.path().join("etc")), [".pwd.lock", "shadow"]);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn pw_8_no_password_file() {
    let guest = Guest::new();
    std::fs::remove_file(guest.dir.path().join("etc/shadow")).unwrap();
    guest.share(V1_SHARED);
    let answer = guest.password("+isVoWgEZ+GvEloIYoLnxg==").await;
    assert_eq!(answer, fails("Unknown password file format"));
}

#[tokio::test]
async fn pw_8_another_user_is_configured() {
    let guest = Guest::with(json!({"user": "daemon"}));
    guest.share(V1_SHARED);
    assert_eq!(guest.password("+isVoWgEZ+GvEloIYoLnxg==").await, done());
    let shadow = guest.shadow();
    assert!(shadow.starts_with(SHADOW.lines().next().unwrap()));
    assert!(hash::verifies("TeStPaSsWoRd", &field(&shadow, "daemon")));
}

/// PW-10 and the table of `keyinit`.
#[tokio::test]
async fn pw_10_public_keys_of_many_kinds() {
    let guest = Guest::new();
    let parse = |text: &str| {
        let body = format!(r#"{{"name":"keyinit","value":{text}}}"#);
        let limits = crate::limits::Limits::default();
        crate::parser::openstack::read(body.as_bytes(), &limits).unwrap().value
    };
    let big = "98013499412720068566681986315768";
    for good in ["123", "\"123\"", "\" 42 \"", "-5", "12.9", big, &format!("\"{big}\""), "1e30"] {
        let (code, message) = guest.call("keyinit", parse(good)).await;
        assert_eq!(code, "D0", "{good}");
        assert!(message.bytes().all(|b| b.is_ascii_digit()), "{message}");
    }
    assert!(public_key(&parse(big)).unwrap() == public_key(&parse(&format!("\"{big}\""))).unwrap());
    assert!(public_key(&parse("-5")).unwrap() == public_key(&parse("\"-5\"")).unwrap());
    for bad in ["\"abc\"", "\"\"", "\"0x10\"", "\"1 2\"", "\"--1\""] {
        let (code, message) = guest.call("keyinit", parse(bad)).await;
        assert_eq!(code, "500", "{bad}");
        assert!(message.starts_with("invalid literal for long()"), "{message}");
    }
    for (bad, kind) in [("null", "NoneType"), ("[]", "list"), ("{}", "dict")] {
        let text = format!("long() argument must be a string or a number, not '{kind}'");
        assert_eq!(guest.call("keyinit", parse(bad)).await, fails(&text));
    }
    for weak in ["0", "1", "0.5", "true", "162259276829213363391578010288126", "-1"] {
        assert_eq!(guest.call("keyinit", parse(weak)).await, fails("Invalid public key"), "{weak}");
    }
}

/// R-P5: after success, after three failures, after 120 s; and each channel by itself.
#[tokio::test]
async fn a_key_is_good_once_for_a_while() {
    let text = "+isVoWgEZ+GvEloIYoLnxg==";
    let guest = Guest::new();
    guest.share(V1_SHARED);
    assert_eq!(guest.password(text).await, done());
    assert_eq!(guest.password(text).await, fails(NO_KEY));

    guest.share(V1_SHARED);
    guest.hands.pass(119);
    assert_eq!(guest.password(text).await, done());
    guest.share(V1_SHARED);
    guest.hands.pass(120);
    assert_eq!(guest.password(text).await, fails(NO_KEY));

    guest.share(V1_SHARED);
    let bad = "qPdisA79sFappFuXVQ8SMQ==";
    for _ in 0..2 {
        assert_eq!(guest.password(bad).await, fails(NO_PASSWORD));
    }
    assert_eq!(guest.password(text).await, done(), "kept after a failure");
    guest.share(V1_SHARED);
    for _ in 0..3 {
        assert_eq!(guest.password(bad).await, fails(NO_PASSWORD));
    }
    assert_eq!(guest.password(text).await, fails(NO_KEY));

    guest.share(V1_SHARED);
    let other = guest.context.for_channel("two", Arc::clone(&guest.commands));
    let answer = guest.commands.call(&other, "password", text.into()).await;
    assert_eq!(answer.result.unwrap_err().message(), NO_KEY);
}

/// Keeps what programs were given.
#[derive(Debug, Default, Clone)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Programs for Recorder {
    fn run<'a>(
        &'a self,
        spec: Spec,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, vnode_action::Result<Output>> {
        self.0.lock().unwrap().push(format!("{spec:?}"));
        async move {
            Ok(Output {
                status: vnode_action::ExitStatus::Code(0),
                stdout: Vec::new(),
                stderr: Vec::new(),
                stdout_truncated: false,
                stderr_truncated: false,
                duration: Duration::ZERO,
            })
        }
        .boxed()
    }
}

#[tokio::test]
async fn freebsd_makes_its_databases() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/master.passwd"), "root::0:0::0:0:C:/root:/bin/sh\n")
        .unwrap();
    let recorder = Recorder::default();
    let context = Context::builder(dir.path()).programs(recorder.clone()).build().unwrap();
    set_password(&context, "secret").await.unwrap();
    let calls = recorder.0.lock().unwrap().clone();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].contains("pwd_mkdb") && !calls[0].contains("secret"), "{calls:?}");
    let new = std::fs::read_to_string(dir.path().join("etc/.vnode-password.new")).unwrap();
    assert!(
        hash::verifies("secret", &field(&new, "root"))
            && new.ends_with(":0:0::0:0:C:/root:/bin/sh\n")
    );
}

/// R-P10: the helper has it on standard input, not in its arguments.
#[tokio::test]
async fn a_helper_is_told_in_secret() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("told");
    let script = format!("cat > {}", out.display());
    let context = Context::builder(dir.path())
        .options("password", json!({"user": "admin", "helper": ["sh", "-c", script]}))
        .build()
        .unwrap();
    set_password(&context, "sécret").await.unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "admin:sécret\n");
    let context = Context::builder(dir.path())
        .options("password", json!({"helper": ["sh", "-c", "cat >&2; exit 3"]}))
        .build()
        .unwrap();
    let error = set_password(&context, "sécret").await.unwrap_err();
    assert!(error.message().starts_with("Failed to change password for root: "), "{error}");
    assert!(!format!("{error:?}").contains("sécret"), "{error:?}");
}
