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
    let names = table.split('`').filter(|name| name.contains("::"));
    for name in names {
        let (file, test) = name.rsplit_once("::").unwrap();
        let path = match file.split_once('/') {
            Some(("src", file)) => here.join("src").join(file),
            Some(("tests", file)) => here.join("../../../tests").join(file),
            Some(("image", file)) => here.join("../image/tests").join(file),
            _ => here.join("tests").join(file),
        };
        let text = fs::read_to_string(path.with_extension("rs")).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "{name} is not there");
    }
}
