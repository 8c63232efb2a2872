//! Filters and selectors of lists (ETSI GS NFV-SOL 013, 5.2 and 5.3).

use serde_json::{Map, Value};

use crate::problem::Problem;

/// Most conditions of one filter, and values of one condition.
const MOST: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    Neq,
    In,
    Nin,
    Gt,
    Gte,
    Lt,
    Lte,
    Cont,
    Ncont,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    path: Vec<String>,
    values: Vec<String>,
}

/// `(op,attribute/path,value,...);(...)`: all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Condition>);

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = |why: &str| Problem::bad(format!("`filter={text}`: {why}")).coded("bad-filter");
        let mut conditions = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let inside =
                rest.strip_prefix('(').ok_or_else(|| wrong("a condition begins with `(`"))?;
            let (words, after) = words(inside).ok_or_else(|| wrong("a `(` has no `)`"))?;
            let [operator, path, values @ ..] = &words[..] else {
                return Err(wrong("a condition is (operator,attribute,value)"));
            };
            let operator = match operator.as_str() {
                "eq" => Operator::Eq,
                "neq" => Operator::Neq,
                "in" => Operator::In,
                "nin" => Operator::Nin,
                "gt" => Operator::Gt,
                "gte" => Operator::Gte,
                "lt" => Operator::Lt,
                "lte" => Operator::Lte,
                "cont" => Operator::Cont,
                "ncont" => Operator::Ncont,
                _ => {
                    return Err(wrong(
                        "an operator is eq, neq, in, nin, gt, gte, lt, lte, cont or ncont",
                    ));
                }
            };
            let many =
                matches!(operator, Operator::In | Operator::Nin | Operator::Cont | Operator::Ncont);
            if path.is_empty() || values.is_empty() || (!many && values.len() > 1) {
                return Err(wrong("this operator takes an attribute and one value"));
            }
            let path = path.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
            conditions.push(Condition { operator, path: path.collect(), values: values.to_vec() });
            if conditions.len() > MOST || values.len() > MOST {
                return Err(wrong("it is too long"));
            }
            rest = match after.strip_prefix(';') {
                Some("") => return Err(wrong("nothing follows the last `;`")),
                Some(more) => more,
                None if after.is_empty() => "",
                None => return Err(wrong("conditions are joined by `;`")),
            };
        }
        Ok(Self(conditions))
    }

    pub(crate) fn admits(&self, value: &Value) -> bool {
        self.0.iter().all(|condition| {
            let mut found = Vec::new();
            collect(value, &condition.path, &mut found);
            condition.holds(&found)
        })
    }
}

/// Words up to the closing bracket, and what follows it. A word in `'...'` may hold anything; `''` is one `'`.
fn words(text: &str) -> Option<(Vec<String>, &str)> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let word = words.last_mut()?;
        match c {
            '\'' if quoted && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                word.push('\'');
            }
            '\'' => quoted = !quoted,
            ',' if !quoted => words.push(String::new()),
            ')' if !quoted => return Some((words, &text[at + 1..])),
            _ => word.push(c),
        }
    }
    None
}

/// Every value that the path leads to; arrays are gone through.
fn collect<'v>(value: &'v Value, path: &[String], found: &mut Vec<&'v Value>) {
    match (value, path) {
        (Value::Array(items), _) => items.iter().for_each(|item| collect(item, path, found)),
        (value, []) => found.push(value),
        (Value::Object(map), [first, rest @ ..]) => {
            if let Some(value) = map.get(first) {
                collect(value, rest, found);
            }
        }
        _ => {}
    }
}

impl Condition {
    fn holds(&self, found: &[&Value]) -> bool {
        let any = |test: &dyn Fn(&str, &Value) -> bool| {
            found.iter().any(|value| self.values.iter().any(|wanted| test(wanted, value)))
        };
        let order = |test: fn(std::cmp::Ordering) -> bool| {
            any(&|wanted, value| compare(value, wanted).is_some_and(test))
        };
        match self.operator {
            Operator::Eq | Operator::In => any(&|wanted, value| text(value) == wanted),
            Operator::Neq | Operator::Nin => !any(&|wanted, value| text(value) == wanted),
            Operator::Cont => any(&|wanted, value| text(value).contains(wanted)),
            Operator::Ncont => !any(&|wanted, value| text(value).contains(wanted)),
            Operator::Gt => order(std::cmp::Ordering::is_gt),
            Operator::Gte => order(std::cmp::Ordering::is_ge),
            Operator::Lt => order(std::cmp::Ordering::is_lt),
            Operator::Lte => order(std::cmp::Ordering::is_le),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Numbers as numbers, all else as text: RFC 3339 times in UTC are in order so.
fn compare(value: &Value, wanted: &str) -> Option<std::cmp::Ordering> {
    match (value.as_f64(), wanted.parse::<f64>()) {
        (Some(value), Ok(wanted)) => value.partial_cmp(&wanted),
        _ => Some(text(value).as_str().cmp(wanted)),
    }
}

/// Which members of an entry a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Selector {
    #[default]
    All,
    /// These beside the members that always are.
    Only(Vec<Vec<String>>),
    Without(Vec<Vec<String>>),
}

impl Selector {
    /// From a list's query, of which it takes its own parameters.
    pub(crate) fn parse(query: &[(String, String)]) -> Result<Self, Problem> {
        let paths = |text: &str| {
            text.split(',').map(|p| p.split('/').map(str::to_owned).collect()).collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        for (key, value) in query {
            match key.as_str() {
                "fields" => found.push(Self::Only(paths(value))),
                "exclude_fields" => found.push(Self::Without(paths(value))),
                "all_fields" | "exclude_default" => found.push(Self::All),
                _ => {}
            }
        }
        match found.len() {
            0 => Ok(Self::All),
            1 => Ok(found.remove(0)),
            _ => Err(Problem::bad(
                "only one of `fields`, `exclude_fields`, `all_fields` and `exclude_default` can be given",
            )),
        }
    }

    /// `always`: members that no selector takes away.
    pub(crate) fn apply(&self, mut value: Value, always: &[&str]) -> Value {
        match self {
            Self::All => value,
            Self::Without(paths) => {
                for path in paths {
                    if path.len() > 1 || !always.contains(&path[0].as_str()) {
                        remove(&mut value, path);
                    }
                }
                value
            }
            Self::Only(paths) => {
                let mut kept = Map::new();
                let from = value.as_object();
                for name in always.iter().copied().chain(paths.iter().map(|p| p[0].as_str())) {
                    if let Some(member) = from.and_then(|map| map.get(name)) {
                        kept.insert(name.to_owned(), member.clone());
                    }
                }
                Value::Object(kept)
            }
        }
    }
}

fn remove(value: &mut Value, path: &[String]) {
    let Some(map) = value.as_object_mut() else { return };
    match path {
        [] => {}
        [last] => drop(map.remove(last)),
        [first, rest @ ..] => {
            if let Some(inner) = map.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admits(filter: &str, value: &Value) -> bool {
        Filter::parse(filter).unwrap().admits(value)
    }

    #[test]
    fn conditions_hold_as_the_standard_says() {
        let value = json!({"operationState": "FAILED_TEMP", "n": 3, "a": {"b": ["x", "y"]},
            "startTime": "2026-01-10T08:00:01Z", "odd": "it's, (so)"});
        for (filter, wanted) in [
            ("(eq,operationState,FAILED_TEMP)", true),
            ("(neq,operationState,FAILED_TEMP)", false),
            ("(in,operationState,COMPLETED,FAILED_TEMP)", true),
            ("(nin,operationState,COMPLETED,FAILED_TEMP)", false),
            ("(gt,n,2);(lt,n,10)", true),
            ("(gte,n,4)", false),
            ("(lte,startTime,2026-01-10T08:00:01Z)", true),
            ("(eq,a/b,y)", true),
            ("(cont,operationState,TEMP)", true),
            ("(ncont,operationState,TEMP)", false),
            ("(eq,odd,'it''s, (so)')", true),
            ("(eq,absent,1)", false),
            ("(neq,absent,1)", true),
            ("", true),
        ] {
            assert_eq!(admits(filter, &value), wanted, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for filter in [
            "eq,a,b",
            "(eq,a",
            "(eq,a)",
            "(is,a,b)",
            "(eq,a,b,c)",
            "(eq,a,b)(eq,c,d)",
            "(eq,a,b);",
            "(eq,,b)",
        ] {
            assert_eq!(Filter::parse(filter).unwrap_err().status, 400, "{filter}");
        }
        assert!(Filter::parse(&"(eq,a,b);".repeat(100)).is_err());
    }

    #[test]
    fn selectors_keep_what_always_is() {
        let value = json!({"id": "1", "name": "n", "deep": {"a": 1, "b": 2}, "_links": {}});
        let query = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let select =
            |q: Vec<_>| Selector::parse(&q).unwrap().apply(value.clone(), &["id", "_links"]);
        assert_eq!(
            select(query("fields", "deep")),
            json!({"id": "1", "_links": {}, "deep": {"a": 1, "b": 2}})
        );
        assert_eq!(
            select(query("exclude_fields", "id,name,deep/a")),
            json!({"id": "1", "_links": {}, "deep": {"b": 2}})
        );
        assert_eq!(select(query("all_fields", "")), value);
        let mut two = query("fields", "a");
        two.extend(query("all_fields", ""));
        assert!(Selector::parse(&two).is_err());
    }
}
