//! The file's rules, case by case (T-34, T-93..T-98), and that every message has its place.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bounds;
mod host;
mod links;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::{Given, errors, lab, read, read_in, texts, warnings};
use vnode_topology::*;

/// A file with these nodes (all null) and this text below `topology`.
fn with(nodes: &str, rest: &str) -> String {
    let nodes: String = nodes.split_whitespace().map(|n| format!("    {n}:\n")).collect();
    format!("name: t\ntopology:\n  nodes:\n{nodes}{rest}")
}

#[test]
fn t93_unknown_keys_are_reported_with_their_line() {
    let text = "name: t\nflavour: x\ntopology:\n  nodes:\n    a: {license: x, wibble: 1}\n";
    assert_eq!(
        warnings(text),
        [
            "2: unknown key `flavour` of the file is not acted on",
            "5: `license` of node `a` is not acted on",
            "5: unknown key `wibble` of node `a` is not acted on",
        ]
    );
}

#[test]
fn t93_mistyped_keys_are_refused_with_the_right_one() {
    let rejected = read("name: t\ntopology:\n  nodes:\n    a: {imgae: x}\n").unwrap_err();
    assert_eq!(texts(&rejected.errors), ["4: unknown key `imgae` of node `a`"]);
    assert_eq!(
        rejected.errors[0].to_string(),
        "lab.clab.yml:4:9: error: unknown key `imgae` of node `a`\n \
         4 |     a: {imgae: x}\n   |         ^^^^^\n  hint: did you mean `image`?"
    );
}

#[test]
fn t94_binds_are_merged_by_destination() {
    let lab = lab("name: t
topology:
  defaults:
    binds: [\"X:/d\", \"/e:/e\"]
  kinds:
    linux:
      binds: [\"k:/k:ro\"]
  nodes:
    a:
      kind: linux
      binds: [\"Y:/d\", \"f:/f\"]
");
    let binds: Vec<(String, String, bool)> = lab.nodes[0]
        .binds
        .iter()
        .map(|b| {
            let source = b.source.as_ref().unwrap().display().to_string();
            (source, b.destination.display().to_string(), b.read_only)
        })
        .collect();
    let expected = [
        ("/labs/one/Y", "/d", false),
        ("/e", "/e", false),
        ("/labs/one/k", "/k", true),
        ("/labs/one/f", "/f", false),
    ];
    assert_eq!(binds.len(), expected.len());
    for (bind, (source, destination, read_only)) in binds.iter().zip(expected) {
        assert_eq!((bind.0.as_str(), bind.1.as_str(), bind.2), (source, destination, read_only));
    }
}

#[test]
fn t94_the_most_specific_wins_and_lists_are_joined() {
    let lab = lab("name: t
topology:
  defaults:
    kind: linux
    image: d
    exec: [d]
    env: {A: d, B: d, C: d, D: d}
    ports: [\"1:1\"]
    cap-add: [NET_ADMIN]
    cmd: d
  kinds:
    linux: {image: k, exec: [k], env: {A: k, B: k, C: k}, cap-add: [cap_sys_time, net_admin]}
  groups:
    g: {image: g, exec: [g], env: {A: g, B: g}, cmd: \"\"}
  nodes:
    a: {group: g, exec: [n], env: {A: n}, ports: [\"2:2\", \"3:3/udp\"]}
    b: {image: n, ports: []}
");
    let a = lab.node("a").unwrap();
    assert_eq!(a.image.as_deref(), Some("g"));
    assert_eq!(a.exec, ["d", "k", "g", "n"]);
    let env: Vec<_> = a.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=n", "B=g", "C=k", "D=d"]);
    assert_eq!(a.ports.len(), 2);
    assert_eq!(a.cap_add, ["NET_ADMIN", "SYS_TIME"]);
    // An empty value is none, as containerlab has it.
    assert_eq!(a.cmd.as_deref(), Some("d"));
    let b = lab.node("b").unwrap();
    assert_eq!(b.image.as_deref(), Some("n"));
    assert!(b.ports.is_empty());
}

#[test]
fn t95_underscores_and_dashes_are_one_key() {
    let dashed = "name: t
mgmt: {ipv4-subnet: 10.0.0.0/24}
topology:
  nodes:
    a: {mgmt-ipv4: 10.0.0.9, restart-policy: no, startup-delay: 3}
";
    let mut underscored = dashed.to_owned();
    for key in ["ipv4-subnet", "mgmt-ipv4", "restart-policy", "startup-delay"] {
        underscored = underscored.replace(key, &key.replace('-', "_"));
    }
    assert_ne!(dashed, underscored);
    assert_eq!(lab(dashed), lab(&underscored));
    assert_eq!(lab(dashed).nodes[0].restart_policy, RestartPolicy::No);
}

#[test]
fn t95_both_with_differing_values_is_an_error_that_names_both_lines() {
    let text = "name: t
topology:
  nodes:
    a:
      mgmt_ipv4: 172.20.20.9
      mgmt-ipv4: 172.20.20.10
    b:
      startup_delay: 3
      startup-delay: 3
";
    let rejected = read(text).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        ["6: `mgmt_ipv4` and `mgmt-ipv4` are the same key with different values"]
    );
    assert_eq!(rejected.errors[0].also[0].1.line, 5);
}

#[test]
fn t96_what_other_tools_write() {
    let lab = lab("name: 7
topology:
  kinds:
  groups: ~
  defaults:
  nodes:
    1:
    2: ~
    3:
      env: {PORT: 8080, DEBUG: true, RATIO: 1.50, NOTHING: , HEX: 0x10, NO: no}
      user: 1000
      labels:
  links:
    - endpoints: [1:eth1, 2:eth1]
");
    assert_eq!(lab.name, "7");
    let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(lab.nodes[0], Node::linux("1"));
    let env: Vec<_> = lab.nodes[2].env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["DEBUG=true", "HEX=0x10", "NO=no", "NOTHING=", "PORT=8080", "RATIO=1.50"]);
    assert_eq!(lab.nodes[2].user.as_deref(), Some("1000"));
    assert_eq!(lab.links[0].id, "1:eth1--2:eth1");
}

#[test]
fn t96_anchors_and_merge_keys() {
    let lab = lab("name: t
topology:
  defaults: &base
    env: &env {A: 1}
  nodes:
    a:
      <<: *base
      env: {<<: *env, B: 2}
    b:
      <<: [{image: x}, {image: y, cmd: z}]
");
    assert_eq!(lab.nodes[0].env.len(), 2);
    assert_eq!(lab.nodes[1].image.as_deref(), Some("x"));
    assert_eq!(lab.nodes[1].cmd.as_deref(), Some("z"));
}

#[test]
fn t97_substitution_in_the_file() {
    let world = Given::env(&[("LAB", "one"), ("IMAGE", "alpine:3"), ("EMPTY", "")]);
    let text = "name: ${LAB}
topology:
  nodes:
    a:
      image: ${IMAGE:=other}
      cmd: sh -c 'echo $$HOME $1 ${NOT:-${NEITHER-nested}} ${EMPTY:+x}${EMPTY+y}'
      # a comment with $UNSET and ${broken
    b: {image: $UNSET}
";
    let parsed = read_in(text, &world).unwrap();
    assert_eq!(parsed.lab.name, "one");
    assert_eq!(parsed.lab.nodes[0].image.as_deref(), Some("alpine:3"));
    assert_eq!(parsed.lab.nodes[0].cmd.as_deref(), Some("sh -c 'echo $HOME $1 nested y'"));
    // Nothing is left, and nothing is the default.
    assert_eq!(parsed.lab.nodes[1].image.as_deref(), Some("host"));
    assert_eq!(
        texts(&parsed.warnings),
        ["8: the environment variable `UNSET` is not set; nothing is put in its place"]
    );
    let place = parsed.warnings[0].at.as_ref().unwrap();
    assert_eq!((place.column, place.width), (16, 6));
}

#[test]
fn t97_lines_stay_true_behind_values_of_many_lines() {
    let world = Given::env(&[("MANY", "x\n    c:\n    d:")]);
    let text = "name: t\ntopology:\n  nodes:\n    a: {cmd: $MANY}\n";
    // The value breaks the flow map; the error is on the line that the author sees.
    let rejected = read_in(text, &world).unwrap_err();
    assert_eq!(rejected.errors[0].line(), 4, "{rejected}");
    let text = "name: t\ntopology:\n  nodes:\n    a: ${MANY}\n    b: {kind: nope}\n";
    let rejected = read_in(text, &world).unwrap_err();
    assert_eq!(rejected.errors.last().unwrap().line(), 5, "{rejected}");
}

#[test]
fn t97_a_broken_substitution_is_an_error() {
    assert_eq!(
        errors("name: t\ntopology:\n  nodes:\n    a: {cmd: \"${A:?x}\"}\n"),
        ["4: only `-`, `:-`, `=`, `:=`, `+` and `:+` may follow the name"]
    );
}

#[test]
fn magic_words_stand_for_the_lab() {
    let git = Some(("feature/x".to_owned(), "0123abc".to_owned()));
    let world = Given { git, ..Given::default() };
    let text = "name: t-__gitBranch__-__gitHash__
topology:
  nodes:
    a:
      binds: [\"__clabNodeDir__/x:/x\", \"__clabDir__/y:/y\"]
      env: {NAME: __clabNodeName__.__clabLabName__}
";
    let lab = read_in(text, &world).unwrap().lab;
    assert_eq!(lab.name, "t-feature-x-0123abc");
    let node = &lab.nodes[0];
    assert_eq!(node.env["NAME"], "a.t-feature-x-0123abc");
    let dir = Path::new("/labs/one/clab-t-feature-x-0123abc");
    assert_eq!(node.binds[0].source.as_deref(), Some(&*dir.join("a/x")));
    assert_eq!(node.binds[1].source.as_deref(), Some(&*dir.join("y")));
    assert!(errors(text)[0].starts_with("1: `__gitBranch__` stands for nothing"));
}

#[test]
fn env_files_lie_under_env_and_over_the_callers() {
    let mut world = Given::env(&[("A", "caller"), ("CALLER", "yes")]);
    world
        .files
        .insert("/labs/one/e1".into(), "# c\nA=1\nexport B=\"two words\"\n\nbad\nC=c\n".into());
    let text = "name: t
topology:
  nodes:
    a:
      env: {__IMPORT_ENVS: true, C: own}
      env-files: [e1]
";
    let parsed = read_in(text, &world).unwrap();
    let env: Vec<_> = parsed.lab.nodes[0].env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=1", "B=two words", "C=own", "CALLER=yes"]);
    assert_eq!(
        texts(&parsed.warnings),
        ["6: line 5 of env-file `e1` is not of the form NAME=value and is left out"]
    );
    assert!(errors(text)[0].starts_with("6: cannot read env-file `e1`"));
}

#[test]
fn t98_wiring_mistakes_name_both_lines() {
    let text = with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
    - endpoints: [\"b:eth2\", \"a:eth1\"]
    - endpoints: [\"a:eth2\", \"c:eth1\"]
    - endpoints: [\"a:eth3\", \"a:eth3\"]
    - endpoints: [\"a:eth0\", \"b:eth9\"]
  networks:
    lan: {members: [\"b:eth1\"]}
",
    );
    let rejected = read(&text).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        [
            "8: interface `eth1` of node `a` is used twice",
            "9: there is no node `c`",
            "10: interface `eth3` of node `a` is used twice",
            "11: `eth0` of node `a` is its management interface",
            "13: interface `eth1` of node `b` is used twice",
        ]
    );
    let others: Vec<u32> =
        rejected.errors.iter().flat_map(|e| &e.also).map(|(_, place)| place.line).collect();
    assert_eq!(others, [7, 10, 7]);
    let both = rejected.errors[0].to_string();
    assert!(both.contains("lab.clab.yml:7:19: first used here\n 7 |"), "{both}");
}

#[test]
fn t98_nodes_that_share_a_network_share_its_interfaces() {
    let text = "name: t
topology:
  nodes:
    a: {network-mode: none}
    b: {network-mode: \"container:a\"}
    c: {network-mode: container:clab-t-b}
  links:
    - endpoints: [\"a:eth0\", \"a:eth1\"]
    - endpoints: [\"c:eth1\", \"c:eth2\"]
";
    assert_eq!(errors(text), ["9: interface `eth1` of node `a` is used twice"]);
}

#[test]
fn t34_a_circle_of_waits_is_named() {
    let text = "name: t
topology:
  nodes:
    a:
      stages: {create: {wait-for: [{node: b, stage: healthy}]}}
    b:
      stages: {configure: {wait-for: [{node: c, stage: create-links}]}}
    c:
      stages:
        create-links:
          wait-for:
            - {node: a, stage: create}
";
    let rejected = read(text).unwrap_err();
    let told = &rejected.errors[0];
    assert!(told.text.contains("a:create waits for b:healthy waits for b:configure waits for c:create-links waits for a:create"), "{}", told.text);
    let mut lines = vec![told.line()];
    lines.extend(told.also.iter().map(|(_, place)| place.line));
    lines.sort_unstable();
    assert_eq!(lines, [5, 7, 12]);
    let own = "name: t\ntopology:\n  nodes:\n    a: {stages: {create: {wait-for: [{node: a, stage: exit}]}}}\n";
    assert!(errors(own)[0].contains("in a circle"));
    let unknown = "name: t\ntopology:\n  nodes:\n    a: {stages: {create: {wait-for: [{node: z, stage: exit}]}}}\n";
    assert_eq!(errors(unknown), ["4: node `a` waits for `z`, which is no node of this lab"]);
    let network = "name: t\ntopology:\n  nodes:\n    a: {network-mode: container:b}\n    b: {network-mode: container:a}\n";
    assert!(errors(network)[0].contains("in a circle"), "{:?}", errors(network));
}

#[test]
fn processes_are_shared_with_a_container_of_the_lab() {
    let nodes = |nodes: &str| format!("name: t\ntopology:\n  nodes:\n{nodes}");
    let lab =
        lab(&nodes("    a:\n    b: {pid-mode: container:clab-t-a}\n    c: {pid-mode: host}\n"));
    let modes: Vec<_> = lab.nodes.iter().map(|node| node.pid_mode.clone()).collect();
    assert_eq!(modes, [None, Some(PidMode::Node("a".into())), Some(PidMode::Host)]);
    for (text, wanted) in [
        ("    a: {pid-mode: shared}\n", "`pid-mode` is host or container:<node>, not `shared`"),
        ("    a: {pid-mode: container:a}\n", "node `a` cannot share its own processes"),
        (
            "    a: {pid-mode: container:b}\n    b: {kind: bridge}\n",
            "`b` is no container whose processes could be shared",
        ),
    ] {
        assert_eq!(errors(&nodes(text)), [format!("4: {wanted}")]);
    }
    let circle = nodes("    a: {pid-mode: container:b}\n    b: {pid-mode: container:a}\n");
    assert!(errors(&circle)[0].contains("in a circle"), "{:?}", errors(&circle));
    let elsewhere = warnings(&nodes("    a: {pid-mode: container:x}\n"));
    assert!(elsewhere[0].contains("`x` is no node of this lab"), "{elsewhere:?}");
}

#[test]
fn stage_commands_in_both_forms() {
    let lab = lab("name: t
topology:
  nodes:
    a:
      stages:
        create:
          exec:
            - {command: date, target: host, phase: on-exit}
            - command: ls
        healthy:
          exec: {on-enter: [x], on-exit: [y]}
");
    let stages = &lab.nodes[0].stages;
    assert_eq!(
        stages[&StageName::Create].exec,
        [
            StageExec {
                command: "date".into(),
                target: StageExecTarget::Host,
                phase: Phase::OnExit
            },
            StageExec {
                command: "ls".into(),
                target: StageExecTarget::Container,
                phase: Phase::OnEnter
            },
        ]
    );
    assert_eq!(stages[&StageName::Healthy].exec[1].phase, Phase::OnExit);
}

#[test]
fn addresses_and_ports_are_checked() {
    let text = "name: t
mgmt:
  ipv4-subnet: 10.1.0.0/24
  ipv4-gw: 10.1.0.254
topology:
  nodes:
    a: {mgmt-ipv4: 10.1.0.5, ports: [\"80:80\"]}
    b: {mgmt-ipv4: 10.1.0.5, ports: [\"127.0.0.1:80:8080\", \"80:80/udp\"]}
    c: {mgmt-ipv4: 10.2.0.5}
    d: {mgmt-ipv4: 10.1.0.254}
    e: {mgmt-ipv4: 10.1.0.255}
    f: {mgmt-ipv4: 10.1.0, mgmt-ipv6: fd00::5}
    g: {ports: [\"x\"]}
";
    let rejected = read(text).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        [
            "8: nodes `a` and `b` have the same address 10.1.0.5",
            "8: host port 80 leads to node `a` and to node `b`",
            "9: the address 10.2.0.5 of node `c` lies outside the management subnet 10.1.0.0/24",
            "10: the address 10.1.0.254 of node `d` is the host's",
            "11: the address 10.1.0.255 of node `e` is the subnet's own in 10.1.0.0/24",
            "12: `mgmt-ipv4: 10.1.0` is not an IPv4 address",
            "12: the address fd00::5 of node `f` has no use: the management network has no IPv6 subnet",
            "13: `x` is no port",
        ]
    );
    let mgmt =
        |text: &str| errors(&format!("name: t\nmgmt: {text}\ntopology: {{nodes: {{a: }}}}\n"));
    assert_eq!(mgmt("{ipv4-subnet: 10.0.0.0}"), ["2: `10.0.0.0` is no IPv4 subnet"]);
    assert_eq!(
        mgmt("{ipv4-subnet: 10.0.0.0/31}"),
        ["2: the subnet `10.0.0.0/31` has no room for nodes"]
    );
    assert_eq!(
        mgmt("{ipv4-gw: 10.9.0.1}"),
        ["2: `ipv4-gw` lies outside the subnet 172.20.20.0/24"]
    );
    assert_eq!(mgmt("{mtu: 9}"), ["2: `mtu` is a whole number from 68 to 65535, not `9`"]);
}

#[test]
fn limits_may_stand_in_resources() {
    let lab = lab("name: t
topology:
  defaults: {resources: {pids: 100, memory: 1GiB}}
  nodes:
    a: {cpu: 0.5, cpu-set: \"0-1,3\", resources: {pids: 50, cpu-weight: 200, swap: 0.5g}, shm-size: 64MiB}
    b: {memory: 1GiB}
");
    let a = &lab.nodes[0].resources;
    assert_eq!(a.pids, Some(50));
    assert_eq!(a.memory_bytes, Some(1 << 30));
    assert_eq!(a.cpu, Some(0.5));
    assert_eq!(a.cpu_weight, Some(200));
    assert_eq!(a.swap_bytes, Some(500_000_000));
    assert_eq!(lab.nodes[0].shm_size_bytes, Some(64 << 20));
    let text = "name: t\ntopology:\n  nodes:\n    a:\n      memory: 1G\n      resources:\n        memory: 2G\n";
    let rejected = read(text).unwrap_err();
    assert_eq!(texts(&rejected.errors), ["7: `memory` and `resources.memory` differ"]);
    assert_eq!(rejected.errors[0].also[0].1.line, 5);
}

#[test]
fn a_node_is_unprivileged_unless_it_says_so() {
    let lab = lab("name: t\ntopology:\n  nodes:\n    a:\n    b: {privileged: true}\n");
    assert!(!lab.nodes[0].privileged);
    assert!(lab.nodes[1].privileged);
}
