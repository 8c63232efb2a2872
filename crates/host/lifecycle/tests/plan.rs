//! Plans: what is done when one lab becomes another.

use std::path::Path;

use vnode_lifecycle::plan::{difference, down, restore};
use vnode_lifecycle::wanted::{Records, Taken, records};
use vnode_operation::{Plan, Recovery};
use vnode_topology::{Input, Lab, Nothing, parse};

const BASE: &str = r#"
name: t
topology:
  nodes:
    a: {kind: linux, ports: ["8080:80"]}
    b: {kind: linux}
    c: {kind: linux}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
    - endpoints: ["b:eth2", "c:eth1"]
  networks:
    lan: {members: ["a:eth5", "b:eth5", "c:eth5"]}
"#;

fn lab(text: &str) -> Lab {
    let input = Input { text, file: "t.clab.yml", folder: Path::new("/tmp") };
    match parse(input, &Nothing) {
        Ok(parsed) => parsed.lab,
        Err(rejected) => panic!("{rejected}"),
    }
}

fn wanted(text: &str, old: Option<&Records>) -> Records {
    records("i", &lab(text), None, old, Taken::default(), true).expect("a good topology")
}

/// As the records are once all is made.
fn made(mut records: Records) -> Records {
    for node in records.nodes.values_mut() {
        node.made = true;
    }
    for link in records.links.values_mut() {
        link.made = true;
        for end in &mut link.ends {
            end.made = true;
        }
    }
    records
}

fn kinds(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.name.clone()).collect()
}

fn has(plan: &Plan, name: &str) -> bool {
    plan.steps.iter().any(|step| step.name == name)
}

#[test]
fn a_new_lab_is_rolled_back_and_a_changed_one_goes_on() {
    let new = wanted(BASE, None);
    assert_eq!(difference(None, &new, true).plan.recovery, Recovery::RollBack);
    let old = made(new);
    let changed = wanted(&BASE.replace("a:eth1", "a:eth9"), Some(&old));
    assert_eq!(difference(Some(&old), &changed, true).plan.recovery, Recovery::GoOn);
    assert_eq!(down(&old, true, false).recovery, Recovery::GoOn);
}

#[test]
fn a_node_boots_after_its_links_and_links_come_after_both_nodes() {
    let plan = difference(None, &wanted(BASE, None), true).plan;
    let id = |name: &str| {
        plan.steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("{name}")).id
    };
    let link = &plan.steps[id("link `a:eth1--b:eth1`") as usize];
    assert!(
        link.needs.contains(&id("create node `a`")) && link.needs.contains(&id("create node `b`"))
    );
    let boot = &plan.steps[id("boot node `b`") as usize];
    assert!(boot.after.contains(&id("link `a:eth1--b:eth1`")));
    // A link that fails does not by itself keep the node from booting; the operation decides.
    assert!(!boot.needs.contains(&id("link `a:eth1--b:eth1`")));
}

#[test]
fn the_nodes_of_a_large_lan_boot_when_all_have_joined() {
    const MEMBERS: usize = 200;
    let text = |count: usize, stages: &str| {
        let nodes: String = (2..=count).map(|i| format!("    n{i}: {{kind: linux}}\n")).collect();
        let members: Vec<String> = (1..=count).map(|i| format!("\"n{i}:eth1\"")).collect();
        format!(
            "name: t\ntopology:\n  nodes:\n    n1: {{kind: linux, stages: {{{stages}}}}}\n{nodes}  \
             networks:\n    lan: {{members: [{}]}}\n",
            members.join(", ")
        )
    };
    let plan = difference(None, &wanted(&text(MEMBERS, ""), None), true).plan;
    let all = plan.steps.iter().find(|step| step.kind == "lan.wired").expect("the LAN is large");
    let of = |kind: &'static str| plan.steps.iter().filter(move |step| step.kind == kind);
    // A member that cannot join keeps nobody else down.
    assert!(all.needs.is_empty());
    assert!(of("lan.join").all(|join| all.after.contains(&join.id)));
    assert_eq!(of("node.boot").filter(|boot| boot.after.contains(&all.id)).count(), MEMBERS);
    // Where the wiring of one waits for another to be up, nothing waits for all.
    let waits = "create-links: {wait-for: [{node: n2, stage: configure}]}";
    for text in [text(MEMBERS - 1, ""), text(MEMBERS, waits)] {
        let plan = difference(None, &wanted(&text, None), true).plan;
        assert!(!plan.steps.iter().any(|step| step.kind == "lan.wired"));
    }
}

#[test]
fn t101_nothing_differs_nothing_is_done() {
    let old = made(wanted(BASE, None));
    let same = difference(Some(&old), &wanted(BASE, Some(&old)), true);
    assert_eq!(kinds(&same.plan), Vec::<String>::new());
    assert_eq!(same.changes, []);
}

#[test]
fn t101_only_the_difference_is_done() {
    let old = made(wanted(BASE, None));
    let text = BASE.replace(
        "    - endpoints: [\"b:eth2\", \"c:eth1\"]\n",
        "    - endpoints: [\"b:eth2\", \"c:eth1\"]\n      impair: {rate: 10mbit}\n",
    );
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true);
    assert_eq!(kinds(&plan.plan), ["set link `b:eth2--c:eth1`"]);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(plan.changes[0].change, "update");
}

#[test]
fn t102_a_node_with_another_image_is_renewed_in_its_namespace_and_links_stay() {
    let old = made(wanted(BASE, None));
    let text = BASE.replace("c: {kind: linux}", "c: {kind: linux, image: alpine}");
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true);
    assert!(has(&plan.plan, "renew node `c`"), "{:?}", kinds(&plan.plan));
    assert!(!kinds(&plan.plan).iter().any(|name| name.contains("link") || name.contains("LAN")));
    assert_eq!(plan.changes[0].subject, "node c");
}

#[test]
fn t102_a_node_that_must_be_made_again_has_its_links_made_again_too() {
    let old = made(wanted(BASE, None));
    let text = BASE.replace("c: {kind: linux}", "c: {kind: linux, privileged: true}");
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true).plan;
    for step in [
        "remove link `b:eth2--c:eth1`",
        "destroy node `c`",
        "create node `c`",
        "link `b:eth2--c:eth1`",
        "boot node `c`",
    ] {
        assert!(has(&plan, step), "{step} is not in {:?}", kinds(&plan));
    }
    assert!(!has(&plan, "create node `b`") && !has(&plan, "LAN `lan`"));
    assert!(has(&plan, "member 2 of LAN `lan`"), "{:?}", kinds(&plan));
}

#[test]
fn t06_a_lan_stays_as_long_as_it_has_members() {
    let old = made(wanted(BASE, None));
    let fewer = BASE.replace(", \"c:eth5\"", "");
    // Two members make a LAN a link: it is made anew, as such.
    let text =
        fewer.replace("    c: {kind: linux}\n", "    c: {kind: linux}\n    d: {kind: linux}\n");
    let text = text.replace("[\"a:eth5\", \"b:eth5\"]", "[\"a:eth5\", \"b:eth5\", \"d:eth5\"]");
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true).plan;
    assert!(has(&plan, "`c:eth5` leaves its LAN"), "{:?}", kinds(&plan));
    assert!(has(&plan, "member 2 of LAN `lan`") && !has(&plan, "remove LAN `lan`"));
    assert!(!has(&plan, "member 0 of LAN `lan`"));
}

#[test]
fn t84_addresses_of_a_lab_are_unique_and_stay_when_it_changes() {
    let old = made(wanted(BASE, None));
    let more = BASE.replace("    a: {", "    aa: {kind: linux}\n    a: {");
    let new = wanted(&more, Some(&old));
    for (name, node) in &old.nodes {
        assert_eq!(node.control, new.nodes[name].control);
        assert_eq!(node.vmid, new.nodes[name].vmid);
    }
    let mut macs: Vec<_> =
        new.nodes.values().filter_map(|node| Some(node.control.as_ref()?.mac)).collect();
    macs.extend(new.links.values().flat_map(|link| &link.ends).map(|end| end.mac));
    let count = macs.len();
    macs.sort();
    macs.dedup();
    assert_eq!(macs.len(), count);
}

#[test]
fn t04_r4_a_restored_node_keeps_its_disk_whatever_fails() {
    let mut old = made(wanted(BASE, None));
    old.nodes.get_mut("b").expect("b").wanted = false;
    let plan = restore(&old);
    for step in plan.steps.iter().filter(|step| step.kind == "node.create") {
        assert_eq!(step.data["keep"], true);
    }
    assert!(has(&plan, "boot node `a`") && !has(&plan, "boot node `b`"));
    assert!(has(&plan, "link `a:eth1--b:eth1`"));
}

#[test]
fn r16_every_step_has_a_deadline_and_words_for_people() {
    let text = BASE.replace(
        "b: {kind: linux}",
        "b: {kind: linux, image: 'x:1', exec: [\"true\"], healthcheck: {test: [CMD, \"true\"]}, \
         stages: {healthy: {wait-for: [{node: c, stage: healthy}]}, exit: {wait-for: [{node: a, stage: exit}]}}}",
    );
    let new = wanted(&text, None);
    let old = made(new.clone());
    let changed = wanted(&text.replace("a:eth1", "a:eth9").replace("8080", "8081"), Some(&old));
    let plans = [
        difference(None, &new, true).plan,
        difference(Some(&old), &changed, true).plan,
        down(&old, true, true),
        restore(&old),
    ];
    let mut seen = 0;
    for step in plans.iter().flat_map(|plan| &plan.steps) {
        // A day is for what has a limit of its own besides.
        let limit = step.deadline.as_secs();
        assert!((1..=86_400).contains(&limit), "{}: {limit} s", step.name);
        assert!(
            !step.name.is_empty() && step.kind.contains('.') || step.kind == "settle",
            "{step:?}"
        );
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn t34_a_stage_that_waits_needs_the_others_last_step() {
    let text = "
name: t
topology:
  nodes:
    a: {kind: linux, exec: [\"true\"]}
    b:
      kind: linux
      stages: {configure: {wait-for: [{node: a, stage: configure}]}}
";
    let plan = difference(None, &wanted(text, None), true).plan;
    let id = |name: &str| plan.steps.iter().find(|step| step.name == name).expect(name).id;
    assert!(plan.steps[id("boot node `b`") as usize].needs.contains(&id("configure node `a`")));
}

#[test]
fn t34_a_stage_is_over_when_what_it_runs_has_run() {
    for stage in ["create", "create-links"] {
        let text = format!(
            "
name: t
topology:
  nodes:
    a:
      kind: linux
      stages: {{{stage}: {{exec: [{{command: \"true\", phase: on-exit}}]}}}}
    b:
      kind: linux
      stages: {{create: {{wait-for: [{{node: a, stage: {stage}}}]}}}}
    c:
      kind: linux
      stages: {{create: {{wait-for: [{{node: b, stage: create-links}}]}}}}
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
"
        );
        let plan = difference(None, &wanted(&text, None), true).plan;
        let step = |name: &str| plan.steps.iter().find(|step| step.name == name).expect(name);
        assert!(step("create node `b`").needs.contains(&step("configure node `a`").id), "{stage}");
        // Nothing to run: the stage is over with its own steps.
        assert!(!step("create node `c`").needs.contains(&step("boot node `b`").id));
        assert!(!step("create node `c`").needs.is_empty());
    }
}

#[test]
fn t34_who_is_added_waits_for_the_health_of_nodes_that_are_there() {
    let old = made(wanted(BASE, None));
    let waits = "d: {kind: linux, stages: {create: {wait-for: [{node: a, stage: healthy}, {node: b, stage: create}]}}}";
    let text = BASE.replace("  links:", &format!("    {waits}\n  links:"));
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true).plan;
    assert!(
        comes_after(&plan, "create node `d`", "wait for node `a` to be healthy"),
        "{:?}",
        kinds(&plan)
    );
    // The health of a node that was halted may never come; what is past needs no step.
    let mut halted = old.clone();
    halted.nodes.get_mut("a").unwrap().wanted = false;
    let plan = difference(Some(&halted), &wanted(&text, Some(&halted)), true).plan;
    assert!(!plan.steps.iter().any(|step| step.kind == "node.healthy"), "{:?}", kinds(&plan));
    // Nobody waits in a change that makes nobody.
    let with = made(wanted(&text, Some(&old)));
    assert!(difference(Some(&with), &wanted(&text, Some(&with)), true).plan.steps.is_empty());
}

#[test]
fn t52_down_goes_on_when_a_step_fails_and_ends_by_waiting_for_the_kernel() {
    let old = made(wanted(BASE, None));
    let plan = down(&old, true, false);
    assert!(plan.steps.iter().all(|step| step.needs.is_empty()));
    let names = kinds(&plan);
    assert_eq!(names[names.len() - 1], "wait for the kernel to let go");
    // What wants the kernel's lock of all networks comes before the networks of nodes end.
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    assert!(at("restore the host") < names.iter().position(|n| n.starts_with("destroy")).unwrap());
}

/// Whether a step comes after another, needed or in order only.
fn comes_after(plan: &Plan, step: &str, other: &str) -> bool {
    let id = |name: &str| {
        let found = plan.steps.iter().find(|step| step.name == name);
        found.unwrap_or_else(|| panic!("`{name}` in {:?}", kinds(plan))).id
    };
    let mut open = vec![id(step)];
    let mut seen = Vec::new();
    while let Some(at) = open.pop() {
        if !seen.contains(&at) {
            seen.push(at);
            let step = plan.steps.iter().find(|step| step.id == at).expect("a step's number");
            open.extend(step.needs.iter().chain(&step.after));
        }
    }
    seen.contains(&id(other))
}

#[test]
fn a_cable_is_plugged_in_elsewhere_after_it_was_pulled() {
    let old = made(wanted(BASE, None));
    let text = BASE
        .replace("[\"a:eth1\", \"b:eth1\"]", "[\"c:eth1\", \"a:eth1\"]")
        .replace("[\"b:eth2\", \"c:eth1\"]", "[\"b:eth2\", \"c:eth2\"]");
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true).plan;
    let made = "link `c:eth1--a:eth1`";
    assert!(comes_after(&plan, made, "remove link `a:eth1--b:eth1`"), "{:?}", plan.steps);
    assert!(comes_after(&plan, made, "remove link `b:eth2--c:eth1`"), "{:?}", plan.steps);
    assert!(comes_after(&plan, "link `b:eth2--c:eth2`", "remove link `b:eth2--c:eth1`"));
}

#[test]
fn t06_a_member_with_another_address_leaves_and_joins_anew() {
    let text = BASE.replace("\"b:eth5\"", "{node: b, interface: eth5, ipv4: 10.0.0.2/24}");
    let old = made(wanted(&text, None));
    let new = wanted(&text.replace("10.0.0.2/24", "10.0.0.3/24"), Some(&old));
    let plan = difference(Some(&old), &new, true).plan;
    assert!(comes_after(&plan, "member 1 of LAN `lan`", "`b:eth5` leaves its LAN"));
    assert!(!has(&plan, "member 0 of LAN `lan`") && !has(&plan, "member 2 of LAN `lan`"));
}

#[test]
fn a_port_of_the_host_that_moves_to_another_node_is_free_when_that_one_gets_it() {
    let old = made(wanted(BASE, None));
    let text = BASE
        .replace("a: {kind: linux, ports: [\"8080:80\"]}", "a: {kind: linux}")
        .replace("b: {kind: linux}", "b: {kind: linux, ports: [\"8080:80\"]}");
    let plan = difference(Some(&old), &wanted(&text, Some(&old)), true).plan;
    assert!(comes_after(&plan, "boot node `b`", "destroy node `a`"), "{:?}", kinds(&plan));
    let had = plan.steps.iter().find(|step| step.name == "destroy node `a`").unwrap();
    assert_eq!(
        had.data["control"]["forwards"][0]["host_port"], 8080,
        "what it has, not shall have"
    );
}

#[test]
fn what_the_nodes_of_a_lab_stand_on_is_not_changed_below_them() {
    let old = made(wanted(BASE, None));
    let with =
        |mgmt: &str| lab(&BASE.replace("topology:", &format!("mgmt: {{{mgmt}}}\ntopology:")));
    let records = |mgmt: &str| records("i", &with(mgmt), None, Some(&old), Taken::default(), true);
    let refused = records("ipv4-subnet: 10.9.0.0/24").unwrap_err();
    assert!(refused.text.contains("`ipv4-subnet`"), "{refused}");
    assert!(records("mtu: 1400").unwrap_err().text.contains("`mtu`"));
    // Said in words, what is already.
    records("ipv4-subnet: 172.20.20.0/24, ipv6-subnet: 3fff:172:20:20::/64, mtu: 1500").unwrap();
    let closed = records("external-access: false").unwrap();
    let difference = difference(Some(&old), &closed, true);
    assert_eq!(difference.changes.len(), 1, "{:?}", difference.changes);
    assert!(difference.plan.steps.iter().any(|step| step.kind == "control.ensure"));
}

#[test]
fn t101_a_changed_timeline_is_a_change() {
    let text = format!("{BASE}events:\n  - {{at: 1h, link: \"a:eth1--b:eth1\", do: down}}\n");
    let old = made(wanted(BASE, None));
    let with = difference(Some(&old), &wanted(&text, Some(&old)), true);
    assert_eq!((with.plan.steps.len(), with.changes.len()), (0, 1), "{:?}", with.changes);
    assert_eq!(with.changes[0].subject, "timeline");
}
