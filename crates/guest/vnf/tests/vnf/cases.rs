//! Holds `CASES.md` against the sources.

use std::path::Path;

/// The numbers of the specification's section 5.
const CASES: &[(&str, u32)] = &[
    ("PK", 26),
    ("BX", 80),
    ("EX", 19),
    ("PW", 40),
    ("RQ", 34),
    ("LG", 4),
    ("OP", 18),
    ("NB", 7),
    ("SY", 3),
];

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source can be read"));
        }
    }
}

#[test]
fn the_list_has_every_case_and_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/CASES.md")).expect("the list is there");
    let mut all = String::new();
    for folder in [
        root.to_owned(),
        root.join("../../base/vnfpkg"),
        root.join("../../base/processes"),
        root.join("../../base/store"),
        root.join("../agent"),
        root.join("../../../tests"),
    ] {
        sources(&folder, &mut all);
    }
    for (letters, count) in CASES {
        for number in 1..=*count {
            let start = format!("| {letters}-{number:02} | ");
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&start)).collect();
            let [row] = rows[..] else { panic!("{} rows for {letters}-{number:02}", rows.len()) };
            let cells: Vec<&str> = row.split(" | ").collect();
            let remark = cells.last().expect("a row has cells").trim_end_matches(" |").trim();
            let tests: Vec<&str> = row.split('`').filter(|word| word.contains("::")).collect();
            assert!(!tests.is_empty() || remark.len() > 5, "{row}: neither a test nor a reason");
            for test in tests {
                let name = test.rsplit("::").next().expect("a path has an end");
                assert!(all.contains(&format!("fn {name}(")), "{row}: there is no {test}");
            }
        }
    }
}
