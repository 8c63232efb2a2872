//! What a node says of the host: programs run there before its boot, and which one it is to be on.

use vnode_topology::*;

use crate::support::{Given, errors, lab, read_in, texts};

#[test]
fn t37_preconfig_is_a_list_of_commands_some_of_them_required() {
    let lab = lab("name: t
topology:
  defaults:
    preconfig: [\"/bin/keys __clabNodeName__\"]
  nodes:
    a:
      preconfig:
        - {command: ./disk.sh, required: true}
        - command: \"sh -c 'echo x'\"
    b:
");
    let of = |at: usize| -> Vec<(&str, bool)> {
        lab.nodes[at].preconfig.iter().map(|one| (one.command.as_str(), one.required)).collect()
    };
    assert_eq!(of(0), [("/bin/keys a", false), ("./disk.sh", true), ("sh -c 'echo x'", false)]);
    assert_eq!(of(1), [("/bin/keys b", false)]);
    // It matters at the next boot; a node that runs goes on.
    let mut other = lab.nodes[0].clone();
    other.preconfig.clear();
    assert_eq!(lab.nodes[0].change_to(&other), NodeChange::Nothing);
}

#[test]
fn t37_what_is_no_preconfig_is_refused_where_it_stands() {
    let of = |text: &str| {
        errors(&format!("name: t\ntopology:\n  nodes:\n    a:\n      preconfig: {text}\n"))
    };
    assert_eq!(of("./x"), ["5: `preconfig` is a list, not a single value"]);
    assert_eq!(of("[{required: true}]"), ["5: `preconfig` names no `command`"]);
    assert_eq!(of("[{command: x, require: true}]"), ["5: unknown key `require` of `preconfig`"]);
    assert_eq!(
        of("[{command: x, required: perhaps}]"),
        ["5: `required` is true or false, not `perhaps`"]
    );
    assert_eq!(of("[\" \"]"), ["5: the `command` of `preconfig` is empty"]);
    let many = vec!["x"; 1001].join(", ");
    assert_eq!(of(&format!("[{many}]")), ["5: `preconfig` has more than 1000 items"]);
}

#[test]
fn placement_on_this_host_is_taken_and_on_another_refused() {
    let world = Given { host: Some("h1.example.org".to_owned()), ..Given::default() };
    let text = |hint: &str| format!("name: t\ntopology:\n  nodes:\n    a: {{placement: {hint}}}\n");
    for hint in ["h1", "{host: H1.example.org}"] {
        let parsed = read_in(&text(hint), &world).unwrap();
        assert!(parsed.warnings.is_empty(), "{:?}", texts(&parsed.warnings));
        assert!(parsed.lab.nodes[0].placement.is_some());
    }
    let rejected = read_in(&text("{host: h2}"), &world).unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        ["4: `placement` names the host `h2`, and this one is `h1.example.org`"]
    );
    assert_eq!(rejected.errors[0].at.as_ref().unwrap().column, 27);
    assert!(rejected.errors[0].hint.as_deref().unwrap().contains("several hosts"));
    // Where the file is only read, any host may be meant; no name is none anywhere.
    assert!(lab(&text("h2")).nodes[0].placement.is_some());
    assert_eq!(errors(&text("a/b")), ["4: `placement` takes the name of a host, not `a/b`"]);
}
