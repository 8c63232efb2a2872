//! Holds CASES.md against the sources: every test it names is there.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

use std::{fs, path::Path};

#[test]
fn the_list_of_cases_names_tests_that_are_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = fs::read_to_string(here.join("tests/CASES.md")).unwrap();
    for number in
        (1..=29).map(|n| format!("| W-{n:02} |")).chain((1..=21).map(|n| format!("| E-{n:02} |")))
    {
        assert!(cases.contains(&number), "{number} is missing");
    }
    let table: String = cases.lines().filter(|line| line.starts_with("| ")).collect();
    for line in cases.lines().filter(|l| l.starts_with("| W-") || l.starts_with("| E-")) {
        let number = line[2..6].replace('-', "").to_lowercase();
        let is_numbered = line.split('`').any(|n| n.split(['_', ':']).any(|word| word == number));
        // W-24 is no behaviour; two are the publisher's, whose tests have its own numbers.
        let others = ["w17", "w18", "w24", "w28"];
        assert!(
            is_numbered || others.contains(&number.as_str()),
            "no test has {number} in its name"
        );
    }
    let names = table.split('`').filter(|name| name.contains("::"));
    for name in names {
        let (file, test) = name.rsplit_once("::").unwrap();
        let path = match file.split_once('/') {
            Some(("src", file)) => here.join("src").join(file),
            Some(("tests", file)) => here.join("../../../tests").join(file),
            Some(("opennebula", file)) => here.join("../opennebula/tests/opennebula").join(file),
            Some(("image", file)) => here.join("../image/tests").join(file),
            _ => here.join("tests").join(file),
        };
        let text = fs::read_to_string(path.with_extension("rs")).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{name} is not there");
    }
}
