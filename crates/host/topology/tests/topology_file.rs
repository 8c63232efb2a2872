//! The file's rules, case by case (T-34, T-93..T-98), and that every message has its place.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use support::{Given, errors, lab, read, read_in, texts, warnings};
use vnode_protocol::impairment::Impairment;
use vnode_topology::*;

/// A file with these nodes (all null) and this text below `topology`.
fn with(nodes: &str, rest: &str) -> String {
    let nodes: String = nodes.split_whitespace().map(|n| format!("    {n}:\n")).collect();
    format!("name: t\ntopology:\n  nodes:\n{nodes}{rest}")
}

fn impaired(words: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for word in words.split_whitespace() {
        impairment.set_word(word).unwrap();
    }
    impairment
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
fn links_of_all_types() {
    let lab = lab(&with(
        "a b",
        "  links:
    - endpoints: [\"host:veth9\", \"a:eth1\"]
      ipv4: [10.0.0.1/24, 10.0.0.2/24]
    - endpoints: [\"a:eth2\", \"mgmt-net:m1\"]
    - endpoints: [\"a:eth3\", \"macvlan:eno1\"]
    - {type: macvlan, endpoint: {node: b, interface: eth3}, host-interface: eno1, mode: vepa}
    - {type: vxlan, endpoint: {node: a, interface: eth4}, remote: 192.0.2.1, vni: 5, dst-port: 4789, src-port: 50000}
    - {type: dummy, endpoint: {node: a, interface: eth5}, ipv4: 10.9.0.1/32}
    - type: veth
      endpoints:
        - {node: a, interface: eth6, mac: 02:00:00:00:00:01, ipv4: 10.1.0.1/30, ipv6: \"fd00::1/64\"}
        - \"b:eth6\"
      ipv4: [\"\", 10.1.0.2/30]
      labels: {x: 1}
",
    ));
    let ids: Vec<_> = lab.links.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "a:eth1--host:veth9",
            "a:eth2--mgmt-net:m1",
            "a:eth3--macvlan:eno1",
            "b:eth3--macvlan:eno1",
            "a:eth4--vxlan:192.0.2.1/5",
            "a:eth5--dummy",
            "a:eth6--b:eth6"
        ]
    );
    assert_eq!(lab.links[0].near.ipv4.unwrap().to_string(), "10.0.0.2/24");
    assert_eq!(
        lab.links[3].far,
        Far::Macvlan { interface: "eno1".into(), mode: MacvlanMode::Vepa }
    );
    let Far::Node { endpoint, .. } = &lab.links[6].far else { panic!() };
    assert_eq!(endpoint.ipv4.unwrap().to_string(), "10.1.0.2/30");
    assert_eq!(lab.links[6].near.ipv6.unwrap().to_string(), "fd00::1/64");
    assert_eq!(lab.links[6].labels["x"], "1");
}

#[test]
fn links_that_cannot_be() {
    let rejected = errors(&with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\"]
    - endpoints: [\"a:eth1\", \"b:eth1\", \"b:eth2\"]
    - endpoints: [\"a\", \"b:eth1\"]
    - {type: pigeon, endpoints: [\"a:eth1\", \"b:eth1\"]}
    - {type: vxlan, endpoint: {node: a, interface: eth2}}
    - {type: vxlan, endpoint: {node: a, interface: eth3}, remote: x, vni: 0, dst-port: 1}
    - endpoints: [\"host:x\", \"mgmt-net:y\"]
    - {type: veth, endpoints: [{node: a, interface: eth4, mac: ff:ff:ff:ff:ff:ff}, {node: b}]}
    - {endpoints: [\"a:eth5\", \"b:eth5\"], ipv4: [10.0.0.1/24, 10.0.0.1/24], mtu: 1}
    - {endpoints: [\"a:eth 6\", \"b:eth6\"]}
    - text
",
    ));
    assert_eq!(
        rejected,
        [
            "7: a link of this type has two `endpoints`, not 1",
            "8: a link of this type has two `endpoints`, not 3",
            "9: `a` is no endpoint",
            "10: unknown type of link `pigeon`",
            "11: a link of type vxlan needs `remote`",
            "12: `vni` is a whole number from 1 to 16777215, not `0`",
            "13: neither `host:x` nor `mgmt-net:y` is an interface of a container",
            "14: `ff:ff:ff:ff:ff:ff` cannot be an interface's own address",
            "14: an endpoint has a `node` and an `interface`",
            "15: both ends of `a:eth5--b:eth5` have the same address",
            "15: `mtu` is a whole number from 68 to 65535, not `1`",
            "16: `eth 6` is no name for an interface",
            "17: a link is a map, not a single value",
        ]
    );
}

#[test]
fn impairments_are_composed_per_direction() {
    let lab = lab(&with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      impair: {delay: 10ms, rate: 100mbit, loss: 0.1%}
    - type: veth
      impair: {delay: 1ms, loss-ratio: 0.5}
      endpoints:
        - {node: a, interface: eth2, impair: {delay: 5ms}}
        - {node: b, interface: eth2, impair: {delay: 40ms, rate: 2mbit, queue: 50, loss: none}}
",
    ));
    let both = impaired("delay=10ms rate=100mbit loss=0.1%");
    assert_eq!(lab.links[0].near.impair, both);
    assert_eq!(lab.links[0].far_impair(), Some(&both));
    assert_eq!(lab.links[1].near.impair, impaired("delay=5ms loss=50%"));
    assert_eq!(lab.links[1].far_impair(), Some(&impaired("delay=40ms rate=2mbit queue=50")));
}

#[test]
fn impairments_that_cannot_be() {
    let text = with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      impair: {delay: fast}
    - endpoints: [\"a:eth2\", \"b:eth2\"]
      impair: {loss: 0.1, speed: 3}
    - endpoints: [\"a:eth3\", \"b:eth3\"]
      impair: {reorder: 3%}
    - endpoints: [\"a:eth4\", \"b:eth4\"]
      impair: {loss: 1%, loss-ratio: 0.01}
",
    );
    let told = errors(&text);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[0].starts_with("8: `delay: fast` is not a time"));
    assert!(told[1].starts_with("10: `loss: 0.1` is not a percentage"));
    assert!(told[2].starts_with("10: unknown impairment `speed`"));
    assert!(told[3].starts_with("12: `reorder` needs a `delay`"));
    assert!(told[4].starts_with("14: `loss-ratio` and `loss` set the same parameter"));
    let bare =
        with("a b", "  links:\n    - {endpoints: [\"a:eth1\", \"b:eth1\"], impair: {delay: 20}}\n");
    assert_eq!(warnings(&bare), ["7: `delay: 20` has no unit and is taken as 20ms"]);
}

#[test]
fn t70_a_lan_declaration_is_halved_for_each_member() {
    let lab = lab(&with(
        "a b c d",
        "  networks:
    lan0: {members: [\"a:eth1\", \"b:eth1\", \"c:eth1\", \"d:eth1\"], impair: {delay: 10ms, rate: 100mbit, loss: 19%, queue: 40}}
",
    ));
    let lan = &lab.networks[0];
    for member in &lan.members {
        assert_eq!(member.to_lan, impaired("delay=5ms rate=100mbit loss=10% queue=40"));
        assert_eq!(member.from_lan, impaired("delay=5ms rate=100mbit loss=10%"));
    }
    let way = lan.members[0].to_lan.compose(&lan.members[1].from_lan);
    assert_eq!(way, lan.impair);
}

#[test]
fn t71_member_values_are_not_halved() {
    let lab = lab(&with(
        "a b c",
        "  networks:
    lan0:
      members:
        - {node: a, interface: eth1, ipv4: 10.0.0.1/24, impair: {delay: 10ms}}
        - {node: b, interface: eth1, impair: {delay: 20ms}, from-lan: {delay: 7ms}}
        - \"c:eth1\"
",
    ));
    let [a, b, c] = &lab.networks[0].members[..] else { panic!() };
    assert_eq!(a.to_lan.compose(&b.from_lan).delay_us, 17_000);
    assert_eq!(b.to_lan.compose(&a.from_lan).delay_us, 30_000);
    assert_eq!(c.to_lan.compose(&a.from_lan).delay_us, 10_000);
}

#[test]
fn t72_a_lan_of_two_is_a_link() {
    let file = |member: &str| {
        with(
            "a b",
            &format!(
                "  networks:\n    lan0: {{members: [\"a:eth1\", {member}], impair: {{delay: 10ms, loss: 5%, queue: 9}}}}\n"
            ),
        )
    };
    let lan = &lab(&file("\"b:eth1\"")).networks[0];
    for member in &lan.members {
        assert_eq!(member.to_lan, impaired("delay=10ms loss=5% queue=9"));
        assert!(member.from_lan.is_perfect());
    }
    let lan = &lab(&file("{node: b, interface: eth1, to-lan: {delay: 20ms}}")).networks[0];
    assert_eq!(lan.members[0].to_lan.delay_us, 10_000);
    assert_eq!(lan.members[1].to_lan.delay_us, 25_000);
    assert!((lan.members[1].to_lan.loss - 0.05).abs() < 1e-9);
}

#[test]
fn t73_the_timeline() {
    let text = format!(
        "{}events:
  - {{at: 12s, link: \"b:eth1--a:eth1\", do: up, set: {{delay: 20ms}}}}
  - {{at: 1500ms, link: \"a:eth1--b:eth1\", do: down}}
  - {{at: 2m, network: lan, member: b, set: {{loss: 1%}}}}
  - {{at: 2.5s, link: \"a:eth1--b:eth1\", end: \"b:eth1\", do: set, set: {{rate: none}}}}
  - {{at: 1h, network: lan, do: reset}}
",
        with(
            "a b c",
            "  links: [{endpoints: [\"a:eth1\", \"b:eth1\"]}]\n  networks: {lan: {members: [\"a:eth2\", \"b:eth2\", \"c:eth2\"]}}\n"
        )
    );
    let lab = lab(&text);
    let at: Vec<u64> = lab.events.iter().map(|event| event.at_us).collect();
    assert_eq!(at, [1_500_000, 2_500_000, 12_000_000, 120_000_000, 3_600_000_000]);
    assert_eq!(lab.events[0].action, Action::Down);
    assert_eq!(
        lab.events[1].target,
        Target::Link { id: "a:eth1--b:eth1".into(), end: Some("b:eth1".into()) }
    );
    assert_eq!(lab.events[2].target, Target::Link { id: "a:eth1--b:eth1".into(), end: None });
    assert_eq!(lab.events[2].set, [("delay".to_owned(), "20ms".to_owned())]);
    assert_eq!(
        lab.events[3].target,
        Target::Network { name: "lan".into(), member: Some("b:eth2".into()) }
    );
    assert_eq!(lab.events[3].action, Action::Set);
}

#[test]
fn t73_events_that_cannot_be() {
    let text = format!(
        "{}events:
  - {{at: 1s, link: \"a:eth1--c:eth1\", do: down}}
  - {{at: soon, link: \"a:eth1--b:eth1\", do: down}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: explode}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: set}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: down, set: {{delay: 1ms}}}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", end: \"c:eth1\", do: down}}
  - {{at: 1s, network: none, do: down}}
  - {{at: 1s, do: down}}
  - {{link: \"a:eth1--b:eth1\"}}
",
        with("a b", "  links: [{endpoints: [\"a:eth1\", \"b:eth1\"]}]\n")
    );
    let lines: Vec<u32> = read(&text).unwrap_err().errors.iter().map(Diagnostic::line).collect();
    assert_eq!(lines, [8, 9, 10, 11, 12, 13, 14, 15, 16, 16]);
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

#[test]
fn kinds_that_vnode_cannot_run() {
    let text = "name: t
topology:
  nodes:
    a: {kind: ovs-bridge}
    b: {kind: nokia_srlinux}
    c: {kind: toaster}
    d: {kind: bridge, image: x}
";
    let rejected = read(text).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        [
            "4: vnode cannot run the kind `ovs-bridge` (it runs linux, vm, bridge and host)",
            "5: vnode cannot run the kind `nokia_srlinux` (it runs linux, vm, bridge and host)",
            "6: unknown kind `toaster` (vnode runs linux, vm, bridge and host)",
        ]
    );
    assert!(rejected.errors[0].hint.as_deref().unwrap().contains("networks"));
    assert_eq!(texts(&rejected.warnings), ["7: `image` has no meaning for a bridge"]);
}

#[test]
fn files_that_are_no_lab() {
    assert_eq!(errors(""), ["0: the file is empty"].map(|t| t.replace("0:", "1:")));
    assert_eq!(errors("[]")[0], "1: the file is a map, not a list");
    assert_eq!(errors("name: x"), ["1: the file has no `topology`"]);
    assert_eq!(errors("topology: {nodes: {a: }}"), ["1: the lab has no `name`"]);
    assert_eq!(errors("name: x\ntopology: {}"), ["2: `topology` has no `nodes`"]);
    assert_eq!(errors("name: a/b\ntopology: {nodes: {a: }}"), ["1: `a/b` is no name for a lab"]);
    assert_eq!(errors("name: x\ntopology: {nodes: {a b: }}"), ["2: `a b` is no name for a node"]);
    assert_eq!(errors("name: x\nname: y\ntopology: {nodes: {a: }}"), ["2: `name` is given twice"]);
    assert_eq!(
        errors("name: x\ntopology: {nodes: {a: }}\n---\nname: y\n"),
        ["3: a second document begins here"]
    );
    assert_eq!(errors("name: *x\n").len(), 1);
    assert_eq!(errors("name: [x\n").len(), 1);
    assert_eq!(errors("name: x\n  y: z\n").len(), 1);
    let template =
        parse(Input { text: "", file: "lab.clab.gotmpl", folder: Path::new("/") }, &Nothing);
    assert!(template.unwrap_err().to_string().contains("Go template"));
}

#[test]
fn sizes_are_bounded() {
    let long = format!("name: x\n# {}\n", "x".repeat(MOST_BYTES));
    assert!(errors(&long)[0].contains("longer than 4 MiB"));
    // The billion laughs.
    let mut text = String::from("name: x\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(errors(&text)[0].contains("aliases expand"), "{:?}", errors(&text));
    // A chain of aliases is as deep as nesting.
    let mut text = String::from("name: x\na0: &a0 [x]\n");
    for level in 1..1000 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(errors(&text)[0].contains("64 deep"));
    // Merges multiply too.
    let keys: String = (0..3000).map(|at| format!("  k{at}: 1\n")).collect();
    let merges: String = (0..3000).map(|at| format!("  m{at}: {{<<: *big}}\n")).collect();
    let text = format!("name: x\nbig: &big\n{keys}all:\n{merges}");
    assert!(errors(&text)[0].contains("aliases expand"));
    assert!(!errors(&"[".repeat(100_000)).is_empty());
    assert!(!errors(&"a: ".repeat(50_000)).is_empty());
    let nodes: String = (0..20_001).map(|at| format!("    n{at}:\n")).collect();
    let text = format!("name: t\ntopology:\n  nodes:\n{nodes}");
    assert_eq!(errors(&text), ["3: the lab has 20001 nodes, more than 20000"]);
    // As many errors as nodes are not all told.
    let nodes: String = (0..1000).map(|at| format!("    n{at}: {{kind: x}}\n")).collect();
    let told = errors(&format!("name: t\ntopology:\n  nodes:\n{nodes}"));
    assert_eq!(told.len(), 201);
    assert!(told[200].contains("800 more"));
}

#[test]
fn a_file_that_is_one_line_is_read_in_time() {
    let nodes: Vec<String> = (0..20_000).map(|at| format!("n{at}: {{license: x}}")).collect();
    let links: Vec<String> = (1..20_000)
        .map(|at| format!("{{endpoints: [\"n{at}:e1\", \"n{}:e2\"]}}", at - 1))
        .collect();
    let text = format!(
        "{{name: t, topology: {{nodes: {{{}}}, links: [{}]}}}}",
        nodes.join(", "),
        links.join(", ")
    );
    let parsed = read(&text).unwrap();
    assert_eq!(parsed.warnings.len(), 201);
    assert!(parsed.warnings.iter().all(|warning| warning.to_string().len() < 1000));
}

#[test]
fn what_all_nodes_inherit_is_bounded() {
    let nodes: String = (0..20_000).map(|at| format!("    n{at}:\n")).collect();
    let value = "x".repeat(100_000);
    let text = format!("name: t\ntopology:\n  defaults: {{cmd: {value}}}\n  nodes:\n{nodes}");
    assert!(errors(&text)[0].contains("inherit"));
    let many = "- x\n    ".repeat(2000);
    let text =
        format!("name: t\ntopology:\n  defaults:\n    exec:\n    {many}\n  nodes:\n    a:\n");
    assert_eq!(errors(&text), ["1005: `exec` has more than 1000 items"]);
    // A chain of shared networks is long, not slow.
    let chain: String = (1..20_000)
        .map(|at| format!("    n{at}: {{network-mode: \"container:n{}\"}}\n", at - 1))
        .collect();
    lab(&format!("name: t\ntopology:\n  nodes:\n    n0:\n{chain}"));
}

#[test]
fn the_same_ethernet_address_twice_is_told() {
    let text = with(
        "a b",
        "  links:
    - {endpoints: [{node: a, interface: e1, mac: 02:00:00:00:00:01}, {node: b, interface: e1, mac: 02-00-00-00-00-01}]}
",
    );
    assert_eq!(warnings(&text), ["7: two interfaces have the Ethernet address 02:00:00:00:00:01"]);
}

#[test]
fn comments_by_the_hundred_are_no_matter() {
    let comments = "# x\n".repeat(5000);
    lab(&format!(
        "{comments}name: t\n{comments}topology:\n{comments}  nodes:\n{comments}    a:\n{comments}"
    ));
}

#[test]
fn a_lab_of_twenty_thousand_nodes_is_read() {
    let nodes: String = (0..20_000).map(|at| format!("    n{at}: {{kind: linux}}\n")).collect();
    let links: String = (1..20_000)
        .map(|at| format!("    - endpoints: [\"n{at}:eth1\", \"n{}:eth2\"]\n", at - 1))
        .collect();
    let lab = lab(&format!(
        "name: big\ntopology:\n  defaults: {{env: {{A: 1}}, exec: [x]}}\n  nodes:\n{nodes}  links:\n{links}"
    ));
    assert_eq!((lab.nodes.len(), lab.links.len()), (20_000, 19_999));
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems() {
    let text =
        "\u{feff}name: t\r\ntopology:\r\n  nodes:\r\n    a: {cmd: x}\r\n    b: {kind: nope}\r\n";
    let rejected = read(text).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        ["5: unknown kind `nope` (vnode runs linux, vm, bridge and host)"]
    );
    assert!(rejected.to_string().contains("\n 5 |     b: {kind: nope}\n"), "{rejected}");
}
