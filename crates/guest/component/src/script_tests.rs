use std::time::Instant;

use super::*;

async fn run_with(
    script: &str,
    operation: Operation,
    input: Option<&str>,
    keys: &[(&str, &str)],
) -> Result<String, Box<RpcError>> {
    let mut settings = Settings::default();
    for (key, value) in keys {
        assert!(settings.take(key, value).unwrap());
    }
    let command = Command { argv: vec!["/bin/sh".into(), "-c".into(), script.into()] };
    let message =
        if operation == Operation::Rpc { "RPC/toaster/make-toast" } else { operation.word() };
    let request = Request {
        operation,
        message,
        component: "net.test",
        model: "net.test.v1",
        command: &command,
        settings: &settings,
        input: input.map(str::to_owned),
        metadata: (operation == Operation::Rpc).then_some("{\"a\": 1}"),
        caller: Caller { uid: Some(5), pid: Some(6) },
        bus: "unix:path=/bus",
        strict: false,
    };
    run(request, &CancellationToken::new()).await
}

async fn sh(script: &str, operation: Operation) -> Result<String, Box<RpcError>> {
    run_with(script, operation, None, &[]).await
}

/// What the kernel gave the shell, not what the shell made of it.
const DUMP: &str = r#"printf '"'; tr '\0"' ';_' </proc/$$/environ; printf '"'"#;

#[tokio::test]
async fn r01_r21_the_environment_is_exactly_the_listed() {
    let state = sh(DUMP, Operation::State).await.unwrap();
    assert_eq!(
        state,
        r#""VCI_COMPONENT_NAME=net.test;VCI_MODEL_NAME=net.test.v1;EPHEMERA_MESSAGE=State/Get;""#
    );
    let rpc = sh(DUMP, Operation::Rpc).await.unwrap();
    assert!(
        rpc.ends_with("EPHEMERA_MESSAGE=RPC/toaster/make-toast;VCI_RPC_METADATA={_a_: 1};\""),
        "{rpc}"
    );
    let extended =
        run_with(DUMP, Operation::Get, None, &[("X-Environment", "extended"), ("X-Timeout", "7")])
            .await;
    let extended = extended.unwrap();
    assert!(
        extended.ends_with(";EPHEMERA_API=1;EPHEMERA_DEADLINE_MS=7000;VNODE_COMPONENT_BUS=unix:path=/bus;EPHEMERA_CALLER_UID=5;EPHEMERA_CALLER_PID=6;\""),
        "{extended}"
    );
    let keys = [("X-Environment", "extended"), ("X-Yang", "/a, /b")];
    let with_modules = run_with(DUMP, Operation::Get, None, &keys).await.unwrap();
    assert!(with_modules.contains(";VNODE_COMPONENT_YANG=/a:/b;"), "{with_modules}");
}

#[tokio::test]
async fn r02_r07_success_and_what_it_printed() {
    assert_eq!(sh("echo hello; echo told >&2", Operation::Set).await.unwrap(), "");
    assert_eq!(sh("echo '{}'; echo told >&2", Operation::Get).await.unwrap(), "{}");
}

#[tokio::test]
async fn r04_r05_r06_failures() {
    for operation in Operation::ALL {
        let error =
            sh(r#"echo '{"error-tag":"in-use","error-message":"m"}' >&2; exit 1"#, operation).await;
        let error = error.unwrap_err();
        assert_eq!((error.tag.as_str(), error.message.as_str()), ("in-use", "m"));
        assert_eq!(sh("echo plain >&2; exit 1", operation).await.unwrap_err().message, "plain\n");
    }
}

#[tokio::test]
async fn r08_r27_r28_input_arrives_or_is_not_read() {
    let input = r#"{"a" : "<>& é", "a":1}"#;
    let echoed = run_with("cat", Operation::Rpc, Some(input), &[]).await.unwrap();
    assert_eq!(echoed, r#"{"a":"<>& é","a":1}"#);
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    assert_eq!(run_with("exit 0", Operation::Set, Some(&large), &[]).await.unwrap(), "");
    // R27
    assert_eq!(run_with("cat", Operation::Rpc, Some(&large), &[]).await.unwrap(), large);
}

#[tokio::test]
async fn r10_r11_r12_r19_output() {
    assert_eq!(sh("true", Operation::Rpc).await.unwrap(), "{}");
    assert_eq!(sh("echo null", Operation::Rpc).await.unwrap(), "null");
    assert_eq!(sh("echo null", Operation::State).await.unwrap(), "{}");
    for script in ["echo hello", "echo '{}{}'", r#"printf '{"a":"\377"}'"#, r"printf '{}\0'"] {
        let error = sh(script, Operation::Get).await.unwrap_err();
        assert_eq!(
            (error.tag.as_str(), error.app_tag.as_str()),
            ("operation-failed", "exec-output")
        );
    }
    assert!(sh("echo hello", Operation::Get).await.unwrap_err().message.contains("`hello"));
}

#[tokio::test]
async fn r13_programs_that_cannot_be_started() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    for program in ["/nowhere/x", plain.to_str().unwrap(), "no-such-program-here", ""] {
        let command = Command::split(program);
        let request = Request {
            operation: Operation::Get,
            message: "Config/Get",
            component: "a.b",
            model: "a.b.v1",
            command: &command,
            settings: &Settings::default(),
            input: None,
            metadata: None,
            caller: Caller::default(),
            bus: "",
            strict: false,
        };
        let error = run(request, &CancellationToken::new()).await.unwrap_err();
        assert!(!error.message.is_empty() && error.message.contains(program), "{error:?}");
        assert_eq!(error.app_tag, "exec-failed");
    }
}

#[tokio::test]
async fn r14_signals_and_status_are_named() {
    assert!(sh("kill -9 $$", Operation::Rpc).await.unwrap_err().message.contains("signal 9"));
    assert!(sh("exit 7", Operation::Rpc).await.unwrap_err().message.contains("status 7"));
}

#[tokio::test]
async fn r20_children_in_the_background_do_not_delay() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; echo 1", pid.display());
    assert_eq!(sh(&script, Operation::Rpc).await.unwrap(), "1");
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(is_gone(pid.trim()), "{pid} is left");
}

fn is_gone(pid: &str) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie waits for its new parent only.
        if stat.is_empty() || stat.contains(") Z ") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[tokio::test]
async fn x1_x2_time_limits_end_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    for (name, trap) in [("polite", ""), ("deaf", "trap '' TERM;")] {
        let pid = folder.path().join(name);
        let script = format!("{trap} sleep 600 & echo $! > {}; wait; sleep 600", pid.display());
        let limit = [("X-Timeout", "700ms")];
        let error = run_with(&script, Operation::State, None, &limit).await.unwrap_err();
        assert_eq!(error.app_tag, "exec-timeout");
        assert!(is_gone(std::fs::read_to_string(pid).unwrap().trim()));
    }
}

#[tokio::test]
async fn x3_x4_floods_are_bounded() {
    let error =
        run_with("head -c 50000000 /dev/zero", Operation::Get, None, &[("X-MaxOutput", "1M")])
            .await;
    assert_eq!(error.unwrap_err().tag, "too-big");
    let error =
        sh("head -c 5000000 /dev/zero | tr '\\0' x >&2; exit 1", Operation::Get).await.unwrap_err();
    assert_eq!(error.message.len(), MAX_STDERR);
}

#[tokio::test]
async fn x8_a_user_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let script = r#"printf '"%s %s"' "$(id -u):$(id -g):$(id -G)" "$(grep CapEff /proc/self/status | cut -f2)""#;
    let output =
        run_with(script, Operation::Get, None, &[("X-User", "nobody"), ("X-Group", "nogroup")])
            .await;
    assert_eq!(output.unwrap(), "\"65534:65534:65534 0000000000000000\"");
    let error =
        run_with("true", Operation::Get, None, &[("X-User", "no-such-user")]).await.unwrap_err();
    assert!(error.message.contains("no-such-user"));
}
