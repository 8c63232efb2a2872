//! The list of cases is whole, and every test that it names is there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

use std::{fs, path::Path};

/// Section 4 of the specification, by letter; W: the fixes of its section 5.
const CASES: [(char, u32); 8] =
    [('C', 24), ('I', 25), ('N', 5), ('R', 31), ('B', 19), ('L', 21), ('X', 9), ('W', 25)];

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_case_has_its_line_and_its_tests_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/CASES.md")).unwrap();
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let numbers =
        CASES.iter().flat_map(|(letter, most)| (1..=*most).map(move |n| format!("{letter}{n}")));
    for case in numbers.chain(["R18a".to_owned(), "R18b".to_owned()]) {
        let start = format!("| {case} | ");
        let rows: Vec<&str> = list.lines().filter(|line| line.starts_with(&start)).collect();
        let [row] = rows[..] else { panic!("{} lines for {case}", rows.len()) };
        let tests: Vec<&str> = row.split('`').filter(|word| word.contains("::")).collect();
        assert!(!tests.is_empty(), "{case} has no test");
        for test in tests {
            let name = test.rsplit("::").next().unwrap();
            assert!(all.contains(&format!("fn {name}(")), "{case}: there is no test `{test}`");
        }
    }
}
