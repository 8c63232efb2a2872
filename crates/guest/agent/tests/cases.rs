//! CASES.md, the list of the specification's cases and their tests, held against the sources.
#![allow(clippy::unwrap_used, reason = "in a test the right report")]

use std::{collections::BTreeSet, path::Path};

/// Every numbered case of the specification's section 5 and 7, by its group.
const GROUPS: [(&str, u32); 17] = [
    ("JP", 7),
    ("UC", 1),
    ("MI", 2),
    ("PW", 10),
    ("IF", 6),
    ("UP", 3),
    ("NI", 14),
    ("FB", 4),
    ("HN", 7),
    ("EH", 7),
    ("KM", 1),
    ("G1", 11),
    ("G2", 5),
    ("NE", 8),
    ("FN", 1),
    ("XS", 14),
    ("QG", 40),
];

/// All Rust sources beside this crate, as one text.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = String::new();
    let mut rest: Vec<_> = ["agent", "netconf", "xenstore"].iter().map(|n| root.join(n)).collect();
    rest.push(root.join("../../tests"));
    rest.push(root.join("../../bench/src"));
    while let Some(folder) = rest.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    all
}

#[test]
fn every_case_has_a_row_and_every_test_it_names_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/CASES.md");
    let text = std::fs::read_to_string(path).unwrap();
    let sources = sources();
    let mut listed = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(case), Some(tests)) = (cells.first(), cells.get(1)) else { continue };
        if *case == "case" || case.starts_with("---") {
            continue;
        }
        assert!(listed.insert((*case).to_owned()), "{case} twice");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{case}: no test");
        for name in names {
            let function = name.rsplit("::").next().unwrap();
            assert!(sources.contains(&format!("fn {function}(")), "{case}: no test `{name}`");
        }
    }
    let wanted: BTreeSet<String> = GROUPS
        .iter()
        .flat_map(|(group, last)| (1..=*last).map(move |number| format!("{group}-{number}")))
        .collect();
    assert_eq!(listed, wanted);
}
