//! What is no lab, and how large one may be.

use std::path::Path;

use vnode_topology::*;

use crate::support::{errors, lab, read, texts};

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
