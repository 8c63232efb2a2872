//! The README's words are true: its commands are read from it and run.

use std::path::Path;

use vnode_testkit::{Host, needs};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).expect("the README is there")
}

/// The lines between fences below the heading.
fn commands(heading: &str) -> Vec<String> {
    let text = readme();
    let section = text.split("\n## ").find(|s| s.starts_with(heading)).expect("the section");
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_first_lab_of_the_readme_comes_up_and_goes() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    let all = commands("First lab");
    assert!(all.iter().any(|l| l == "cargo xtask lab"), "the one command: {all:?}");
    let ours: Vec<Vec<String>> = all
        .iter()
        .filter_map(|line| line.split_once("target/release/vnode "))
        .map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect())
        .collect();
    let verbs: Vec<&str> = ours.iter().map(|words| words[0].as_str()).collect();
    assert!(verbs.first() == Some(&"up") && verbs.last() == Some(&"down"), "{verbs:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for words in &ours {
        let mut args: Vec<String> = words.clone();
        for word in &mut args {
            // A file of the checkout, named from its top.
            if word.ends_with(".clab.yml") {
                *word = root.join(&*word).canonicalize().expect("the file").display().to_string();
            }
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        // Whoever opens a shell leaves it again.
        let input = if args[0] == "shell" { &b"hostname\nexit\n"[..] } else { b"" };
        let out = host.vnode_with_input(&args, input).ok();
        match args[0] {
            "ps" => assert!(["h1", "h2", "r1", "r2"].iter().all(|n| out.stdout.contains(n))),
            "exec" => assert!(out.stdout.contains(" 0% packet loss"), "{}", out.all()),
            "shell" => assert!(out.stdout.contains("r1"), "{}", out.all()),
            _ => {}
        }
    }
    host.assert_nothing_but_files(&before);
}

#[test]
fn the_readme_names_no_command_that_is_not_there() {
    needs!(Root);
    let host = Host::new();
    let text = readme();
    let section =
        text.split("\n## ").find(|s| s.starts_with("What you can do")).expect("the table");
    let mut seen = 0;
    for row in section.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| you want")) {
        let cell = row.split(" | ").nth(1).expect("two columns");
        for quoted in cell.split('`').skip(1).step_by(2) {
            // What stands behind a pipe is another program.
            let ours = quoted.split(" \\| ").next().unwrap_or_default();
            let words: Vec<&str> = ours.split_whitespace().collect();
            // Verbs are small letters; what follows `image is` are references, with a colon.
            let Some(verb) = words
                .first()
                .filter(|w| w.chars().all(|c| c.is_ascii_lowercase()) && **w != "host")
            else {
                continue;
            };
            // `ls\|pull\|import` and `down\|up\|reset LINK` are several.
            let kinds = words.get(1).copied().unwrap_or_default().replace("\\|", "|");
            let group =
                !kinds.is_empty() && kinds.chars().all(|c| c.is_ascii_lowercase() || c == '|');
            if group {
                for kind in kinds.split('|') {
                    host.vnode(&[verb, kind, "--help"]).ok();
                    seen += 1;
                }
            } else {
                let help = host.vnode(&[verb, "--help"]).ok().stdout;
                for option in words.iter().filter(|w| w.trim_matches(['[', ']']).starts_with('-')) {
                    let option = option.trim_matches(['[', ']']);
                    assert!(help.contains(option), "{quoted}: {option} is not in\n{help}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "the table was understood: {seen}");
}

/// A Rust source, or all that are in a folder, as one text.
fn sources_in(place: &Path) -> String {
    let mut all = String::new();
    let mut rest = vec![place.to_owned()];
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            rest.extend(entries.map(|entry| entry.path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&std::fs::read_to_string(&path).expect("a source can be read"));
        }
    }
    all
}

/// The row of a case in tests/CASES.md.
fn row<'a>(text: &'a str, case: &str) -> &'a str {
    let start = format!("| {case} | ");
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with(&start)).collect();
    let [row] = rows[..] else { panic!("{} rows for {case}", rows.len()) };
    row
}

/// Every test that a row names is there, in the file that it says.
fn assert_tests_are_there(case: &str, row: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named: Vec<(&str, &str)> =
        row.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.rsplit_once("::")).collect();
    for (file, test) in &named {
        let module = file.split("::").next().expect("a path has a beginning");
        // `file::test` is in tests/, as a part of such a file in a folder of its name is; `crate/file::test` is beside that
        // crate: in its tests, or in its sources.
        let mut found = vec![root.join(format!("{module}.rs"))];
        if let Some((name, _)) = module.split_once('/') {
            let groups = ["base", "host", "guest", "."];
            found.extend(groups.map(|group| root.join("../crates").join(group).join(name)));
        }
        found.retain(|place| place.exists());
        let text: String = found.iter().map(|path| sources_in(path)).collect();
        assert!(text.contains(&format!("fn {test}(")), "{case}: `{file}::{test}` is not there");
    }
    named.len()
}

#[test]
fn the_list_of_cases_has_every_case_and_names_tests_that_are_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CASES.md");
    let text = std::fs::read_to_string(path).expect("the list is there");
    let cases = (1..=102).map(|number| format!("T-{number:02}"));
    for case in cases.chain((1..=17).map(|number| format!("R-{number}"))) {
        let row = row(&text, &case);
        assert!(assert_tests_are_there(&case, row) > 0, "{case} has no test");
    }
}

#[test]
fn the_code_that_a_requirement_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("CASES.md")).expect("the list is there");
    for number in 1..=17 {
        let case = format!("R-{number}");
        let code = row(&text, &case).split(" | ").nth(1).expect("a second column");
        let files: Vec<&str> = code.split('`').skip(1).step_by(2).collect();
        assert!(!files.is_empty(), "{case} names no code");
        for file in files {
            assert!(root.join("../crates").join(file).exists(), "{case}: no crates/{file}");
        }
    }
}
