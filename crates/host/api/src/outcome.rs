//! How an operation ended, as an error or none.

use vnode_operation::{Error, FailureKind, Outcome, Status, StepFailure, Summary};

use crate::error::{Code, Problem};
use crate::message::Ended;

impl Ended {
    /// `outcome`: `None` while it runs.
    pub(crate) fn new(summary: Summary, outcome: Option<&Outcome>) -> Self {
        let problem = outcome.and_then(|outcome| problem(&summary.kind, &summary.subject, outcome));
        Self { summary, problem }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::new(status.summary, status.outcome.as_ref())
    }
}

/// The error an outcome stands for; `None` when all is done.
fn problem(kind: &str, subject: &str, outcome: &Outcome) -> Option<Problem> {
    let what = format!("`{kind}` of `{subject}`");
    let mut problem = match outcome {
        Outcome::Completed => return None,
        // What is about one node or one image is done or not: there are no other parts.
        Outcome::Partly { errors, left } if single(kind) && !errors.is_empty() => {
            let mut problem = Problem::new(code(&errors[0]), format!("{what} failed"));
            problem.causes.extend(errors.iter().map(told));
            if left.is_empty() { problem } else { problem.cause(still_there(left)) }
        }
        Outcome::Partly { errors, left } => {
            let mut problem = Problem::new(Code::PartlyDone, format!("{what} is partly done"));
            problem.causes.extend(errors.iter().map(told));
            if left.is_empty() { problem } else { problem.cause(still_there(left)) }
        }
        Outcome::RolledBack { cause, errors } => {
            let mut problem = Problem::new(code(cause), format!("{what} failed and was undone"));
            problem.causes.push(told(cause));
            problem.causes.extend(beside(cause, errors));
            problem
        }
        Outcome::Cancelled { left } => {
            let problem = Problem::new(Code::Cancelled, format!("{what} was cancelled"));
            if left.is_empty() { problem } else { problem.cause(not_done(left)) }
        }
        Outcome::Failed { cause, errors, left } => {
            let mut problem = Problem::new(code(cause), format!("{what} failed"));
            problem.causes.push(told(cause));
            problem.causes.extend(beside(cause, errors));
            if left.is_empty() {
                problem
            } else {
                problem.cause(still_there(left)).hint("`vnode clean` removes what is left")
            }
        }
        _ => Problem::new(Code::Failed, format!("{what} ended in an unknown way")),
    };
    if matches!(kind, "lab.up" | "lab.apply") && problem.code == Code::PartlyDone {
        let lab = subject.strip_prefix("lab/").unwrap_or(subject);
        problem.hints.push(format!(
            "`vnode apply FILE` tries again what is missing, `vnode down {lab}` takes the rest away"
        ));
    }
    for failure in outcome.failures() {
        for hint in &failure.error.hints {
            if !problem.hints.contains(hint) {
                problem.hints.push(hint.clone());
            }
        }
    }
    Some(problem)
}

/// Whether operations of this kind are about one thing.
fn single(kind: &str) -> bool {
    kind.starts_with("node.") || matches!(kind, "image.pull" | "image.import")
}

/// A failure on one line. Most texts say themselves what could not be done; then the step's name is not
/// said again.
fn told(failure: &StepFailure) -> String {
    let said = failure.error.text.contains(&failure.name);
    if said { failure.error.text.clone() } else { failure.to_string() }
}

fn still_there(left: &[String]) -> String {
    format!("left: {}", left.join(", "))
}

fn not_done(left: &[String]) -> String {
    format!("not done: {}", left.join(", "))
}

/// Failures that only say that another one stopped them tell nothing.
fn beside(cause: &StepFailure, errors: &[StepFailure]) -> Vec<String> {
    errors
        .iter()
        .filter(|error| error.error.kind != FailureKind::Cancelled && *error != cause)
        .map(told)
        .collect()
}

fn code(cause: &StepFailure) -> Code {
    match (cause.error.kind, cause.error.code.as_deref()) {
        (FailureKind::Deadline, _) => Code::Deadline,
        (FailureKind::Cancelled, _) => Code::Cancelled,
        (FailureKind::Panicked, _) => Code::Internal,
        (FailureKind::Failed, Some("unsupported")) => Code::Unsupported,
        (FailureKind::Failed, Some("conflict")) => Code::Conflict,
        (FailureKind::Failed, Some("not-found")) => Code::NotFound,
        (FailureKind::Failed, Some("state")) => Code::State,
        (FailureKind::Failed, Some("usage")) => Code::Usage,
        (FailureKind::Failed, _) => Code::Failed,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound { .. } => Code::NotFound,
            Error::Ended { .. } | Error::Refused { .. } => Code::Conflict,
            Error::Stopping => Code::Unavailable,
            error if error.is_conflict() => Code::Conflict,
            _ => Code::Failed,
        };
        Self::from_error(code, &error)
    }
}

#[cfg(test)]
mod tests {
    use vnode_operation::StepError;

    use super::*;

    fn failure(name: &str, error: StepError) -> StepFailure {
        StepFailure { step: Some(1), name: name.into(), group: None, error }
    }

    #[test]
    fn t33_a_partly_done_operation_lists_every_part_that_failed() {
        let errors =
            vec![failure("create node `a`", StepError::new("no image `x`").hint("pull it"))];
        let problem =
            problem("lab.up", "lab/l", &Outcome::Partly { errors, left: vec![] }).unwrap();
        assert_eq!(problem.code.exit_code(), 3);
        assert_eq!(problem.causes, ["create node `a`: no image `x`"]);
        assert_eq!(problem.hints.last().map(String::as_str), Some("pull it"));
        assert!(problem.hints[0].contains("`vnode down l`"), "{problem:?}");
    }

    #[test]
    fn what_the_text_says_is_not_said_twice() {
        let cause = failure("boot node `a`", StepError::new("cannot boot node `a`: no memory"));
        let outcome = Outcome::RolledBack { cause, errors: vec![] };
        let problem = problem("node.boot", "lab/l/node/a", &outcome).unwrap();
        assert_eq!(problem.causes, ["cannot boot node `a`: no memory"]);
    }

    #[test]
    fn t58_a_deadline_is_neither_success_nor_failure() {
        let cause =
            failure("wait for `a`", StepError::new("not ready").kind(FailureKind::Deadline));
        let outcome = Outcome::RolledBack { cause: cause.clone(), errors: vec![] };
        assert_eq!(problem("lab.up", "lab/l", &outcome).unwrap().code.exit_code(), 4);
        let cause = failure("boot `a`", StepError::new("it died"));
        let outcome = Outcome::RolledBack { cause, errors: vec![] };
        assert_eq!(problem("lab.up", "lab/l", &outcome).unwrap().code.exit_code(), 1);
        assert!(problem("lab.up", "lab/l", &Outcome::Completed).is_none());
    }

    #[test]
    fn what_is_about_one_thing_is_never_partly_done() {
        let errors = vec![failure("boot node `a`", StepError::new("no program `x`"))];
        let outcome = Outcome::Partly { errors, left: vec![] };
        let problem = problem("node.boot", "lab/l/node/a", &outcome).unwrap();
        assert_eq!(problem.code.exit_code(), 1);
        assert_eq!(problem.text, "`node.boot` of `lab/l/node/a` failed");
        assert_eq!(problem.causes, ["boot node `a`: no program `x`"]);
        assert!(problem.hints.is_empty(), "{problem:?}");
    }

    #[test]
    fn what_is_left_is_named_with_the_way_out() {
        let cause = failure("destroy `a`", StepError::new("device busy"));
        let outcome = Outcome::Failed { cause, errors: vec![], left: vec!["disk of `a`".into()] };
        let problem = problem("lab.down", "lab/l", &outcome).unwrap();
        assert!(problem.to_string().contains("left: disk of `a`"), "{problem}");
        assert!(problem.hints[0].contains("vnode clean"));
    }
}
