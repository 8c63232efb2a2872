//! Emulab's NS files (T-99): the same model as a topology file written by hand, errors with their place, nothing dropped
//! in silence.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use proptest::prelude::*;
use support::{lab, texts};
use vnode_topology::{Format, Imported, Input, Name, Rejected};

fn import(text: &str) -> Result<Imported, Rejected> {
    let input = Input { text, file: "lab.ns", folder: Path::new("/labs/one") };
    vnode_topology::import(Format::Ns, input, Name { asked: Some("lab"), otherwise: "" }, &|_| None)
}

const HEAD: &str = "source tb_compat.tcl\nset ns [new Simulator]\n";

#[test]
fn t99_an_ns_file_is_the_same_model_as_one_written_by_hand() {
    let ns = r#"
# A link, a LAN, and what becomes of them.
source tb_compat.tcl
set ns [new Simulator]
set n0 [$ns node]
set n1 [$ns node]
set n2 [$ns node]
set l0 [$ns duplex-link $n0 $n1 100Mb 50ms DropTail]
tb-set-link-loss $l0 0.05
set lan0 [$ns make-lan "$n0 $n1 $n2" 100Mb 10ms]
tb-set-lan-simplex-params $lan0 $n1 10ms 1Mb 0.1 20ms 2Mb 0
tb-set-ip-link $n0 $l0 192.168.7.1
$ns at 10.5 "$l0 down"
$ns at 12 "$l0 up"
$ns at 20 "$l0 modify DELAY=20 BANDWIDTH=500 PLR=0.01 PIPE=pipe1"
$ns run
"#;
    let by_hand = r#"
name: lab
topology:
  nodes: {n0: , n1: , n2: }
  links:
    - endpoints: ["n0:eth1", "n1:eth1"]
      ipv4: [192.168.7.1/24, 192.168.7.2/24]
      impair: {rate: 100mbit, delay: 50ms, loss: 5%}
  networks:
    lan0:
      impair: {rate: 100mbit, delay: 10ms}
      members:
        - {node: n0, interface: eth2, ipv4: 10.1.2.2/24}
        - {node: n1, interface: eth2, ipv4: 10.1.2.3/24,
           to-lan: {rate: 1mbit, delay: 10ms, loss: 10%}, from-lan: {rate: 2mbit, delay: 20ms, loss: 0%}}
        - {node: n2, interface: eth1, ipv4: 10.1.2.4/24}
events:
  - {at: 10.5s, link: "n0:eth1--n1:eth1", do: down}
  - {at: 12s, link: "n0:eth1--n1:eth1", do: up}
  - {at: 20s, link: "n0:eth1--n1:eth1", end: "n1:eth1", do: set, set: {delay: 20ms, rate: 500kbit, loss: 1%}}
"#;
    let imported = import(ns).unwrap();
    assert!(imported.unmapped.is_empty(), "{:?}", imported.unmapped);
    let mut made = imported.parsed.lab;
    let wanted = lab(by_hand);
    // Parameters of an event are kept in the order they were written.
    for event in &mut made.events {
        event.set.sort();
    }
    let mut wanted = wanted;
    for event in &mut wanted.events {
        event.set.sort();
    }
    wanted.folder = made.folder.clone();
    assert_eq!(made, wanted, "{}", imported.text);
}

#[test]
fn t99_one_way_of_a_link_is_changed_alone() {
    let imported = import(&format!(
        "{HEAD}set a [$ns node]\nset b [$ns node]\nset c [$ns node]\n\
         set l [$ns duplex-link $a $b 1.5Mb 10 DropTail]\n\
         tb-set-link-simplex-params $l $b 100ms 50Kb 0.2\n\
         $ns simplex-link $b $c 1Gb 1ms RED\n\
         $ns simplex-link $c $b 2Gb 2ms DropTail\n\
         set q [[$ns link $a $b] queue]\n$q set limit_ 20\n"
    ))
    .unwrap();
    let links = &imported.parsed.lab.links;
    assert_eq!(links[0].near.impair.to_string(), "rate=1.5mbit delay=10ms queue=20");
    assert_eq!(links[0].far_impair().unwrap().to_string(), "rate=50kbit delay=100ms loss=20%");
    assert_eq!(links[1].near.impair.to_string(), "rate=1gbit delay=1ms aqm=red");
    assert_eq!(links[1].far_impair().unwrap().to_string(), "rate=2gbit delay=2ms");
}

#[test]
fn t99_loops_make_many() {
    let imported = import(&format!(
        "{HEAD}set max 4\nset members \"\"\n\
         for {{set i 0}} {{$i < $max}} {{incr i}} {{\n    set node($i) [$ns node]\n    append members \"$node($i) \"\n}}\n\
         set lan0 [$ns make-lan \"$members\" 0 0ms]\n\
         foreach i {{0 1}} {{\n  $ns duplex-link $node($i) \\\n    $node([expr $i + 2]) 100Mb 0ms DropTail\n}}\n"
    ))
    .unwrap();
    let lab = &imported.parsed.lab;
    let names: Vec<_> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-0", "node-1", "node-2", "node-3"]);
    assert_eq!(lab.networks[0].members.len(), 4);
    let ids: Vec<_> = lab.links.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(ids, ["node-0:eth2--node-2:eth2", "node-1:eth2--node-3:eth2"]);
}

#[test]
fn t99_what_has_no_meaning_here_is_listed_with_its_place() {
    let imported = import(&format!(
        "{HEAD}set n0 [$ns node]\ntb-set-node-os $n0 FBSD-STD\n$ns rtproto Static\n  $n0 program-agent -command ls\n\
         $ns at 5 \"$n0 reboot\"\nset c [new Agent/CBR]\n$c set rate_ 1\n"
    ))
    .unwrap();
    assert_eq!(
        texts(&imported.unmapped),
        [
            "4: `tb-set-node-os` is not mapped",
            "5: `rtproto` of the simulator is not mapped",
            "6: `program-agent` of a node is not mapped",
            "7: the event `n0 reboot` is not mapped",
            "8: `new` is not mapped",
        ]
    );
    assert_eq!(imported.unmapped[2].at.as_ref().unwrap().column, 3);
    for line in ["# not mapped: 4:1: `tb-set-node-os`", "# not mapped: 6:3: `program-agent`"] {
        assert!(imported.text.contains(line), "{}", imported.text);
    }
}

#[test]
fn t99_errors_have_line_and_column() {
    let errors = |text: &str| {
        let refused = import(&format!("{HEAD}{text}")).unwrap_err();
        refused
            .errors
            .iter()
            .map(|e| {
                let at = e.at.as_ref().unwrap();
                format!("{}:{}: {}", at.line, at.column, e.text)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        errors("set a [$ns node]\n$ns duplex-link $a $b 1Mb 0ms DropTail\n"),
        ["4:20: `$b` is not set"]
    );
    assert_eq!(
        errors("set a [$ns node]\nset l [$ns duplex-link $a x 1Mb 0ms DropTail]\n"),
        ["4:27: `x` is no node"]
    );
    assert_eq!(
        errors("set a [$ns node]\nset b [$ns node]\n$ns duplex-link $a $b fast 0ms DropTail"),
        ["5:23: `fast` is no rate"]
    );
    assert_eq!(
        errors("for {set i 0} {$i < 3} {incr i} {\n set a [$ns node\n}"),
        ["4:8: this bracket is not closed"]
    );
    assert_eq!(errors("if {1"), ["3:4: this brace is not closed"]);
    assert_eq!(
        errors("while {1} {}"),
        ["3:1: more than 500000 commands: a loop that does not end?"]
    );
    assert_eq!(errors("$ns at soon \"x\""), ["3:8: `soon` is no time"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}") {
        let _ = import(&text);
    }

    #[test]
    fn no_script_panics(parts in proptest::collection::vec(
        prop_oneof![
            Just("set"), Just("$ns"), Just("[$ns node]"), Just("{"), Just("}"), Just("["), Just("]"), Just("\""),
            Just("\n"), Just("n0"), Just("$n0"), Just("duplex-link"), Just("make-lan"), Just("100Mb"), Just("0ms"),
            Just("DropTail"), Just("tb-set-link-loss"), Just("0.5"), Just("at"), Just("down"), Just("\\\n"),
            Just("for"), Just("incr"), Just("expr"), Just("é"), Just("$"), Just("("), Just(")"), Just(";"),
        ], 0..60,
    )) {
        let _ = import(&format!("{HEAD}set n0 [$ns node]\n{}", parts.join(" ")));
    }
}
