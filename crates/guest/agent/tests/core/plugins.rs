//! Plugins: commands, exchanges and parsers in Python, with the helper of packaging/agent.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::{Value, json};

use super::support::Agent;

fn install(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A folder with the sample modules and the helper beside them.
fn plugins(folder: &Path) {
    let helper = include_str!("../../../../../packaging/agent/vnode_agent_plugin.py");
    install(folder, "vnode_agent_plugin.py", helper, 0o644);
    install(folder, "sample.py", include_str!("plugins/sample.py"), 0o755);
    install(folder, "exchange.py", include_str!("plugins/exchange.py"), 0o755);
    install(folder, "parser.py", include_str!("plugins/parser.py"), 0o755);
}

fn agent(channels: impl FnOnce(&Path) -> String) -> Agent {
    Agent::with(|folder| {
        let commands = folder.join("commands");
        std::fs::create_dir(&commands).unwrap();
        plugins(&commands);
        format!(
            "defaults = false\n[plugins]\ncommands = {commands:?}\n\
             [[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\npath = \"{0}/agent.sock\"\n{1}",
            folder.display(),
            channels(folder)
        )
    })
}

#[tokio::test]
async fn a_ported_module_serves_the_native_form() {
    let agent = agent(|_| String::new());
    let mut client = agent.connect().await;
    let ended = client.call("sample-native", json!(["x", 1])).await;
    assert_eq!(ended.ok()["got"], json!(["x", 1]));
    assert!(ended.ok()["interfaces"].as_array().unwrap().contains(&json!("lo")));
}

#[tokio::test]
async fn a_ported_module_serves_the_openstack_form_and_may_replace_a_command() {
    let agent = agent(|folder| {
        format!(
            "[[channel]]\nname = \"old\"\nexchange = \"unix\"\nparser = \"openstack\"\npath = \"{}/old.sock\"\n",
            folder.display()
        )
    });
    agent.connect().await;
    let stream = loop {
        if let Ok(stream) = std::os::unix::net::UnixStream::connect(agent.path("old.sock")) {
            break stream;
        }
    };
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for (request, code, message) in [
        (r#"{"name": "hello", "value": "you"}"#, "0", "hello you"),
        (r#"{"name": "sample_fails", "value": "x"}"#, "500", "no such thing: x"),
        (r#"{"name": "sample_code"}"#, "404", "not here"),
        (r#"{"name": "no_such"}"#, "404", "No such agent command 'no_such'"),
    ] {
        writeln!(&stream, "{request}").unwrap();
        let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer, json!({"message": message, "returncode": code}), "{request}");
    }
    writeln!(&stream, r#"{{"name": "version"}}"#).unwrap();
    let answer = lines.next().unwrap().unwrap();
    assert!(answer.contains("sample over "), "{answer}");
}

#[tokio::test]
async fn an_exchange_and_a_parser_may_both_be_programs() {
    let agent = agent(|folder| {
        for name in ["requests", "answers"] {
            let made = std::process::Command::new("mkfifo").arg(folder.join(name)).status();
            assert!(made.unwrap().success());
        }
        let at = folder.display();
        format!(
            "[[channel]]\nname = \"both\"\nexchange = \"plugin\"\nprogram = \"{at}/commands/exchange.py\"\n\
             arguments = [\"{at}/requests\", \"{at}/answers\"]\n\
             parser = \"plugin\"\nparser-program = \"{at}/commands/parser.py\"\nblock = [\"metrics\"]\n"
        )
    });
    let (requests, answers) = (agent.path("requests"), agent.path("answers"));
    let talked = tokio::task::spawn_blocking(move || {
        let mut requests = std::fs::File::options().write(true).open(requests).unwrap();
        let mut answers = BufReader::new(std::fs::File::open(answers).unwrap()).lines();
        for (request, expected) in [
            ("ping", "1 ok {}"),
            ("metrics", "2 disabled command `metrics` has been disabled on this channel"),
            ("nothing", "3 unknown no command `nothing`"),
        ] {
            writeln!(requests, "{request}").unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), expected);
        }
    });
    tokio::time::timeout(super::support::PATIENCE, talked).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_plugin_that_others_can_write_or_that_fails_is_left_out() {
    let agent = Agent::with(|folder| {
        let commands = folder.join("commands");
        std::fs::create_dir(&commands).unwrap();
        let describe = |name: &str| {
            format!(
                "#!/bin/sh\necho '{{\"commands\":[{{\"name\":\"{name}\",\"form\":\"native\"}}]}}'\n"
            )
        };
        install(&commands, "open", &describe("open"), 0o777);
        install(&commands, "plain", &describe("plain"), 0o644);
        install(&commands, "broken", "#!/bin/sh\nexit 1\n", 0o755);
        install(&commands, "noise", "#!/bin/sh\necho nonsense\n", 0o755);
        install(&commands, "good", &describe("good"), 0o755);
        format!(
            "defaults = false\n[plugins]\ncommands = {commands:?}\ntime-limit-seconds = 1\n\
             [[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\npath = \"{}/agent.sock\"\n",
            folder.display()
        )
    });
    let mut client = agent.connect().await;
    for name in ["open", "plain"] {
        assert_eq!(client.call(name, Value::Null).await.error()["code"], "unsupported");
    }
    // What it prints then is no answer, which is its fault and not the agent's.
    let ended = client.call("good", Value::Null).await;
    assert_eq!(ended.error()["code"], "failed", "{ended:?}");
}
