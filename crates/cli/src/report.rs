//! How errors look. The first line is enough to act on; hints follow. With `--json` the same as data.

use std::io::{self, IsTerminal, Write};

use vnode_api::{Code, Problem};

/// Shows a problem: on standard error for people, as one JSON document on standard output with `--json`.
pub(crate) fn show(problem: &Problem, json: bool) {
    let shown = if json {
        let mut line = serde_json::json!({ "error": problem }).to_string();
        line.push('\n');
        io::stdout().lock().write_all(line.as_bytes())
    } else {
        let stderr = io::stderr();
        let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        stderr.lock().write_all(text(problem, colour).as_bytes())
    };
    // There is nowhere left to say that saying it failed; the exit code still tells.
    drop(shown);
}

fn text(problem: &Problem, colour: bool) -> String {
    let (red, cyan, plain) =
        if colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let mut text = String::new();
    for finding in &problem.details {
        text.push_str(&finding.clone().diagnostic().to_string());
        text.push('\n');
    }
    let what = match problem.code {
        // Each finding has been shown with its place; the count closes the list.
        Code::Topology if !problem.details.is_empty() => problem.text.clone(),
        Code::PartlyDone => problem.text.clone(),
        _ => problem.to_string(),
    };
    text.push_str(&format!("{red}error{plain}: {}\n", one_line(&what)));
    if problem.code == Code::PartlyDone {
        for cause in &problem.causes {
            text.push_str(&format!("  {}\n", one_line(cause)));
        }
    }
    for hint in &problem.hints {
        text.push_str(&format!("  {cyan}hint{plain}: {}\n", one_line(hint)));
    }
    text
}

/// What comes from outside may not paint over the terminal or fake a second line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use vnode_api::{Finding, Place};

    use super::*;

    #[test]
    fn the_first_line_has_what_and_why_and_hints_follow() {
        let problem = Problem::new(Code::State, "cannot exec in node `r1`")
            .cause("it is stopped")
            .hint("`vnode boot r1` starts it");
        assert_eq!(
            text(&problem, false),
            "error: cannot exec in node `r1`: it is stopped\n  hint: `vnode boot r1` starts it\n"
        );
    }

    #[test]
    fn a_topology_error_shows_line_column_source_and_caret() {
        let mut problem = Problem::new(Code::Topology, "cannot use topology `l.yml`: 1 error");
        problem.causes.push("unknown key `imge`".into());
        problem.details.push(Finding {
            file: "l.yml".into(),
            text: "unknown key `imge`".into(),
            hint: Some("did you mean `image`?".into()),
            at: Some(Place { line: 4, column: 7, width: 4, source: "      imge: a".into() }),
            also: vec![],
        });
        let text = text(&problem, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "l.yml:4:7: error: unknown key `imge`");
        assert!(lines[1].ends_with("|       imge: a"), "{text}");
        assert!(lines[2].ends_with("|       ^^^^"), "{text}");
        assert_eq!(*lines.last().unwrap(), "error: cannot use topology `l.yml`: 1 error");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let shown = text(&Problem::new(Code::Failed, "a\x1b[2Jb\nerror: c"), false);
        assert_eq!(shown, "error: a [2Jb error: c\n");
    }

    #[test]
    fn parts_that_failed_are_listed_one_a_line() {
        let problem = Problem::new(Code::PartlyDone, "lab `l` is partly up").cause("node `a`: x");
        assert_eq!(text(&problem, false), "error: lab `l` is partly up\n  node `a`: x\n");
    }
}
