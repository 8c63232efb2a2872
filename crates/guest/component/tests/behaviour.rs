//! What callers see on a real bus: sections 4.3 to 4.5 of the specification.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start real clients")]

mod support;

use std::process::Command;

use support::{World, refused};
use vnode_component::client::Error;

const TOASTER: &str = "\
[Component]
Name=net.test.toaster
[Model net.test.toaster.v1]
Config/Check=@/check
Config/Set=@/set
Config/Get=@/get
State/Get=@/state
RPC/toaster-v1/make-toast=@/make
RPC/toaster-v1/getThing=@/message
RPC/other/echo=/bin/cat
";
const MODEL: &str = "net.test.toaster.v1";

async fn toaster(options: &[&str]) -> World {
    let world = World::start_with(&[("toaster.instance", TOASTER)], options).await;
    world.script("check", "cat >@/checked");
    world.script("set", "cat >@/config; echo printed");
    world.script("get", "cat @/config");
    world.script("state", "echo '{\"s\": [1, 2]}'");
    world.script(
        "make",
        "echo '{\"error-tag\":\"in-use\",\"error-type\":\"protocol\"}' >&2; exit 1",
    );
    world.script("message", r#"printf '"%s %s"' "$EPHEMERA_MESSAGE" "$VCI_MODEL_NAME""#);
    world.client().await.activate("net.test.toaster").await.unwrap();
    world
}

#[tokio::test]
async fn r01_r02_r08_configuration_state_and_rpcs_reach_their_scripts() {
    let world = toaster(&[]).await;
    let client = world.client().await;
    let config = r#"{"a" : "<>& é", "a":1}"#;
    client.check(MODEL, &format!(" {config}\n")).await.unwrap();
    assert_eq!(world.read("checked"), config);
    client.set(MODEL, config).await.unwrap();
    assert_eq!(client.get(MODEL).await.unwrap(), r#"{"a":"<>& é","a":1}"#);
    assert_eq!(client.state(MODEL).await.unwrap(), r#"{"s":[1,2]}"#);
    // N5
    let answer = client.rpc(MODEL, "toaster-v1", "getThing", "{}", "null").await.unwrap();
    assert_eq!(answer, "\"RPC/toaster-v1/getThing net.test.toaster.v1\"");
    let Err(Error::Failed(error)) = client.rpc(MODEL, "toaster-v1", "make-toast", "{}", "{}").await
    else {
        panic!("make-toast fails")
    };
    assert_eq!((error.error_type.as_str(), error.tag.as_str()), ("protocol", "in-use"));
}

#[tokio::test]
async fn r04_r16_the_error_is_on_the_wire_as_busctl_sees_it() {
    let world = toaster(&[]).await;
    let arguments = ["/toaster_v1/rpc", "yang.module.ToasterV1.RPC", "MakeToast", "ss", "{}", "{}"];
    if has("busctl") {
        let busctl = Command::new("busctl")
            .arg(format!("--address={}", world.bus.address))
            .args(["call", MODEL])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!busctl.status.success());
    }
    let send = Command::new("dbus-send")
        .args([&format!("--bus={}", world.bus.address), "--print-reply", "--type=method_call"])
        .args([
            &format!("--dest={MODEL}"),
            "/toaster_v1/rpc",
            "yang.module.ToasterV1.RPC.MakeToast",
        ])
        .args(["string:{}", "string:{}"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&send.stderr).into_owned();
    assert!(text.contains("com.vyatta.rpcerror.protocol"), "{text}");
}

#[tokio::test]
async fn r09_b07_busctl_and_gdbus_read_and_call() {
    let world = toaster(&[]).await;
    if !has("busctl") || !has("gdbus") {
        println!("skipped: busctl or gdbus is not there");
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let address = format!("--address={}", world.bus.address);
    let state =
        run("busctl", &[&address, "call", MODEL, "/state", "net.vyatta.vci.config.read", "Get"]);
    assert_eq!(state, "s \"{\\\"s\\\":[1,2]}\"\n");
    // B7: `busctl` reads the whole tree from the description.
    let tree = run("busctl", &[&address, "tree", "--list", MODEL]);
    for path in ["/running", "/state", "/toaster_v1", "/toaster_v1/rpc", "/other/rpc"] {
        assert!(tree.lines().any(|line| line == path), "{tree}");
    }
    let out = run(
        "gdbus",
        &[
            "call",
            "--address",
            &world.bus.address,
            "--dest",
            MODEL,
            "--object-path",
            "/other/rpc",
            "--method",
            "yang.module.Other.RPC.Echo",
            "{}",
            "{\"a\": 1}",
        ],
    );
    assert_eq!(out, "('{\"a\":1}',)\n");
}

fn has(program: &str) -> bool {
    Command::new(program).arg("help").output().is_ok()
}

#[tokio::test]
async fn b01_b02_b03_b04_b05_calls_that_are_none() {
    let world = toaster(&[]).await;
    let raw = world.raw().await;
    let read = "net.vyatta.vci.config.read";
    let write = "net.vyatta.vci.config.write";
    let error = |name: &str| format!("org.freedesktop.DBus.Error.{name}");
    let call = async |path: &str, interface: Option<&str>, member: &str| {
        refused(raw.call_method(Some(MODEL), path, interface, member, &()).await)
    };
    assert_eq!(call("/running", Some(write), "Set").await, error("InvalidArgs"));
    let with = raw.call_method(Some(MODEL), "/running", Some(read), "Get", &("x",)).await;
    assert_eq!(refused(with), error("InvalidArgs"));
    let with = raw.call_method(Some(MODEL), "/running", Some(write), "Set", &(7i32,)).await;
    assert_eq!(refused(with), error("InvalidArgs"));
    let with = raw.call_method(Some(MODEL), "/running", Some(write), "Set", &(true,)).await;
    assert_eq!(refused(with), error("InvalidArgs"));
    assert_eq!(call("/nowhere", Some(read), "Get").await, error("NoSuchObject"));
    assert_eq!(call("/running", Some("a.b"), "Get").await, error("UnknownInterface"));
    assert_eq!(call("/running", Some(read), "Put").await, error("UnknownMethod"));
    assert_eq!(call("/running", None, "Put").await, error("UnknownInterface"));
    let properties = Some("org.freedesktop.DBus.Properties");
    assert_eq!(call("/running", properties, "GetAll").await, error("UnknownInterface"));
    raw.call_method(Some(MODEL), "/state", None::<&str>, "Get", &()).await.unwrap();
}

#[tokio::test]
async fn b06_b07_peer_and_description() {
    let world = toaster(&[]).await;
    let raw = world.raw().await;
    let peer = Some("org.freedesktop.DBus.Peer");
    raw.call_method(Some(MODEL), "/running", peer, "Ping", &()).await.unwrap();
    let id = raw.call_method(Some(MODEL), "/running", peer, "GetMachineId", &()).await;
    if let Ok(id) = id {
        assert_eq!(id.body().deserialize::<(String,)>().unwrap().0.len(), 32);
    }
    for (path, part) in [
        ("/", "name=\"net.vyatta.vci.config.write\""),
        ("/running", "<method name=\"Check\">"),
        ("/state", "<method name=\"Get\">"),
        ("/toaster_v1", "<node name=\"rpc\">"),
        ("/toaster_v1/rpc", "<interface name=\"yang.module.ToasterV1.RPC\">"),
    ] {
        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let reply =
            raw.call_method(Some(MODEL), path, introspectable, "Introspect", &()).await.unwrap();
        let (xml,) = reply.body().deserialize::<(String,)>().unwrap();
        assert!(xml.contains(part), "{path}: {xml}");
    }
}

#[tokio::test]
async fn b09_b10_each_model_answers_for_itself() {
    let two = "[Component]\nName=a.b\n[Model a.b.v1]\nState/Get=/bin/echo 1\nRPC/m/x=/bin/echo 1\n\
               [Model a.b.v2]\nState/Get=/bin/echo 2\n";
    let world = World::start(&[("two.instance", two)]).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.state("a.b.v1").await.unwrap(), "1");
        assert_eq!(client.state("a.b.v2").await.unwrap(), "2");
    }
    // The component's own name stands for all its models: only what one of them has is served.
    assert_eq!(client.rpc("a.b", "m", "x", "{}", "{}").await.unwrap(), "1");
    let Err(Error::Refused { name, .. }) = client.state("a.b").await else { panic!() };
    assert_eq!(name, "org.freedesktop.DBus.Error.NoSuchObject");
}

#[tokio::test]
async fn b16_no_reply_is_sent_where_none_is_wanted() {
    let world = toaster(&[]).await;
    let raw = world.raw().await;
    let call = zbus::Message::method_call("/running", "Set")
        .destination(MODEL)
        .interface("net.vyatta.vci.config.write")
        .with_flags(zbus::message::Flags::NO_REPLY_EXPECTED)
        .build(&("[7]",))
        .unwrap();
    raw.send(&call).await.unwrap();
    support::eventually("the script ran", async || world.read("config") == "[7]").await;
}

#[tokio::test]
async fn r05_r10_r11_r19_output_that_is_none() {
    let world = toaster(&[]).await;
    let client = world.client().await;
    world.script("state", "true");
    assert_eq!(client.state(MODEL).await.unwrap(), "{}");
    for script in ["echo no", "printf '\"\\377\"'", "echo wrong >&2; exit 3", "kill -9 $$"] {
        world.script("state", script);
        let Err(Error::Failed(error)) = client.state(MODEL).await else { panic!("{script}") };
        assert!(!error.message.is_empty(), "{script}");
    }
}

#[tokio::test]
async fn r18_every_error_output_is_answered() {
    let world = toaster(&[]).await;
    let client = world.client().await;
    for stderr in
        ["{}", "null", "[{\"error-tag\":\"a\"}]", "{\"error-type\":\"a-b\"}", "\\377", "", "\\000"]
    {
        world.script("make", &format!("printf '{stderr}' >&2; exit 1"));
        let answer = client.rpc(MODEL, "toaster-v1", "make-toast", "{}", "{}").await;
        assert!(matches!(answer, Err(Error::Failed(_))), "{stderr}: {answer:?}");
    }
}

#[tokio::test]
async fn r22_r23_r24_metadata_and_input() {
    let world = toaster(&[]).await;
    world.script("make", "touch @/ran; printf '\"%s\"' \"$VCI_RPC_METADATA\" | tr '{}' '<>'");
    let raw = world.raw().await;
    let call = async |metadata: &str, input: &str| {
        let body = (metadata.to_owned(), input.to_owned());
        raw.call_method(
            Some(MODEL),
            "/toaster_v1/rpc",
            Some("yang.module.ToasterV1.RPC"),
            "MakeToast",
            &body,
        )
        .await
    };
    for (metadata, input) in [
        ("", "{}"),
        ("x", "{}"),
        ("{}", ""),
        ("{}", "{"),
        ("{}", "1 2"),
        ("{}", "01"),
        ("{}", "\u{feff}{}"),
    ] {
        assert_eq!(refused(call(metadata, input).await), "org.freedesktop.DBus.Error.Failed");
    }
    assert!(!world.path("ran").exists());
    let (answer,) =
        call(" [1,  2] ", "{}").await.unwrap().body().deserialize::<(String,)>().unwrap();
    assert_eq!(answer, "\"[1,  2]\"");
}

#[tokio::test]
async fn r29_r30_r31_what_a_model_does_not_have() {
    let bare = "[Component]\nName=a.b\n[Model a.b.v1]\n";
    let world = World::start(&[("bare.instance", bare)]).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    client.set("a.b.v1", "{}").await.unwrap();
    client.check("a.b.v1", "{}").await.unwrap();
    assert_eq!(client.get("a.b.v1").await.unwrap(), "{}");
    let Err(Error::Refused { name, .. }) = client.state("a.b.v1").await else { panic!() };
    assert_eq!(name, "org.freedesktop.DBus.Error.NoSuchObject");
}

#[tokio::test]
async fn strict_compat_fails_as_upstream() {
    let bare = "[Component]\nName=a.b\nStart=/bin/false\n[Model a.b.v1]\nRPC/m/x=/bin/true\n";
    let world = World::start_with(&[("bare.instance", bare)], &["--strict-compat"]).await;
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    assert!(matches!(client.get("a.b.v1").await, Err(Error::Refused { .. })));
    let Err(Error::Refused { name, .. }) = client.state("a.b.v1").await else { panic!() };
    assert_eq!(name, "org.freedesktop.DBus.Error.Failed");
    assert!(client.rpc("a.b.v1", "m", "x", "{}", "{}").await.is_err());
}

#[tokio::test]
async fn b18_b19_the_schema_service_is_asked_when_it_is_there() {
    use futures_util::StreamExt;
    let world = toaster(&[]).await;
    let client = world.client().await;
    assert_eq!(client.rpc(MODEL, "other", "echo", "{}", "[1]").await.unwrap(), "[1]");
    let schema = world.raw().await;
    let mut stream = zbus::MessageStream::from(&schema);
    schema.request_name("net.vyatta.vci.config.yangd.v1").await.unwrap();
    let serving = schema.clone();
    let served = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            let header = message.header();
            if header.member().is_none_or(|member| member.as_str() != "ValidateRpcInput") {
                continue;
            }
            let (_, input) = message.body().deserialize::<(String, String)>().unwrap();
            let input: serde_json::Value = serde_json::from_str(&input).unwrap();
            assert_eq!(input["yangd-v1:rpc-module-name"], "other");
            let reply = if input["yangd-v1:rpc-input"] == "[1]" {
                let error =
                    vnode_component::rpc_error::RpcError::invalid_value("not today").at("/x");
                zbus::Message::error(&header, error.name()).build(&(error,)).unwrap()
            } else {
                zbus::Message::method_return(&header)
                    .build(&("{\"yangd-v1:valid\":true}",))
                    .unwrap()
            };
            serving.send(&reply).await.unwrap();
        }
    });
    support::eventually("the schema service is asked", async || {
        client.rpc(MODEL, "other", "echo", "{}", "[1]").await.is_err()
    })
    .await;
    let Err(Error::Failed(error)) = client.rpc(MODEL, "other", "echo", "{}", "[1]").await else {
        panic!()
    };
    assert_eq!(
        (error.tag.as_str(), error.path.as_str(), error.message.as_str()),
        ("invalid-value", "/x", "not today")
    );
    assert_eq!(client.rpc(MODEL, "other", "echo", "{}", "[2]").await.unwrap(), "[2]");
    // Nobody but the bus can say that it is gone.
    let other = world.raw().await;
    for (path, interface) in [("/x", "x.y"), ("/org/freedesktop/DBus", "org.freedesktop.DBus")] {
        let forged = zbus::Message::signal(path, interface, "NameOwnerChanged")
            .destination(MODEL)
            .build(&("net.vyatta.vci.config.yangd.v1", "", ""))
            .unwrap();
        other.send(&forged).await.unwrap();
        let peer = Some("org.freedesktop.DBus.Peer");
        other.call_method(Some(MODEL), "/", peer, "Ping", &()).await.unwrap();
        assert!(client.rpc(MODEL, "other", "echo", "{}", "[1]").await.is_err(), "{interface}");
    }
    served.abort();
}

#[tokio::test]
async fn b18_without_the_schema_service_upstreams_way() {
    let world = toaster(&["--schema-service", "always"]).await;
    let client = world.client().await;
    let Err(Error::Refused { name, .. }) = client.rpc(MODEL, "other", "echo", "{}", "[1]").await
    else {
        panic!()
    };
    assert_eq!(name, "org.freedesktop.DBus.Error.Failed");
    client.set(MODEL, "{}").await.unwrap();
    client.get(MODEL).await.unwrap();
}

#[tokio::test]
async fn n4_notifications_are_sent_and_heard() {
    let world = toaster(&[]).await;
    let client = world.client().await;
    let mut watch = client.watch(Some("foo-bar-v1")).await.unwrap();
    let out = world.component(&["emit", "foo-bar-v1:link-down", " {\"a\": 1} "]);
    assert!(out.status.success(), "{out:?}");
    let told = watch.next().await.unwrap();
    assert_eq!(told.path, "/foo_bar_v1/notification");
    assert_eq!(told.interface, "yang.module.FooBarV1.Notification");
    assert_eq!((told.member.as_str(), told.data.as_str()), ("LinkDown", "{\"a\": 1}"));
}

#[tokio::test]
async fn w21_the_caller_as_the_bus_knows_it() {
    let text = "[Component]\nName=a.b\nX-Environment=extended\n[Model a.b.v1]\nState/Get=@/who\n";
    let world = World::start(&[("who.instance", text)]).await;
    world.script("who", r#"printf '"%s %s"' "$EPHEMERA_CALLER_UID" "$EPHEMERA_CALLER_PID""#);
    let client = world.client().await;
    client.activate("a.b").await.unwrap();
    let uid = rustix::process::getuid().as_raw();
    let expected = format!("\"{uid} {}\"", std::process::id());
    assert_eq!(client.state("a.b.v1").await.unwrap(), expected);
    assert_eq!(client.state("a.b.v1").await.unwrap(), expected);
}

#[tokio::test]
async fn w23_the_verbs_of_the_command_line() {
    let world = toaster(&[]).await;
    let ok = |arguments: &[&str]| {
        let out = world.component(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    ok(&["set", MODEL, "{\"x\":1}"]);
    assert_eq!(ok(&["get", MODEL]), "{\"x\":1}\n");
    ok(&["check", MODEL, "--data", "[]"]);
    assert_eq!(ok(&["state", MODEL]), "{\"s\":[1,2]}\n");
    assert_eq!(ok(&["rpc", "other:echo", "[3]"]), "[3]\n");
    assert!(ok(&["ls"]).contains("net.test.toaster  active"));
    assert!(ok(&["show", "net.test.toaster"]).contains("\"other:echo\""));
    let out = world.component(&["rpc", "toaster-v1:make-toast"]);
    assert_eq!(out.status.code(), Some(1));
    ok(&["deactivate", "-component", "net.test.toaster"]);
    let out = world.component(&["activate", "-component=no.such"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no.such"));
    assert_eq!(world.component(&["activate"]).status.code(), Some(2));
    let bad = world.path("bad.instance");
    std::fs::write(&bad, "[Component]\nName=a.b\nother=1\n[Model  x]\n").unwrap();
    let out = world.component(&["check", bad.to_str().unwrap()]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text.contains("bad.instance:3: warning:") && text.contains("bad.instance:4: error:"),
        "{text}"
    );
    // The two files of a component, when both are given.
    let component = world.path("x.component");
    let text = "[Vyatta Component]\nName=a.b\nDescription=x\nEphemeral=true\n[Model a.b.v2]\nModules=m\nModelSets=s\n";
    std::fs::write(&component, text).unwrap();
    let instance = world.path("x.instance");
    std::fs::write(&instance, "[Component]\nName=a.b\n[Model a.b.v1]\n").unwrap();
    let text = ok(&["check", component.to_str().unwrap(), instance.to_str().unwrap()]);
    assert!(text.contains("no model `a.b.v1`") && text.contains("no `[Model a.b.v2]`"), "{text}");
}
