//! Which version of a list is newer.

use std::cmp::Ordering;

/// Compares versions as the original does: fields between `-`, `,`, `.` and `/`, the delimiters fields themselves;
/// numbers as numbers, a number newer than a text, texts cut at their digits, the longer newer where one ends.
///
/// ```
/// use std::cmp::Ordering;
/// assert_eq!(vnode_imagelist::version::compare("1.9", "1.10"), Ordering::Less);
/// assert_eq!(vnode_imagelist::version::compare("1.0", "1.0a"), Ordering::Greater);
/// ```
pub fn compare(one: &str, other: &str) -> Ordering {
    lists(&fields(one), &fields(other), |a, b| {
        lists(&runs(a), &runs(b), |a, b| a.as_bytes().cmp(b.as_bytes()))
    })
}

/// Fields one after the other; `texts` compares two of which both are texts.
fn lists(one: &[&str], other: &[&str], texts: impl Fn(&str, &str) -> Ordering) -> Ordering {
    for (a, b) in one.iter().zip(other) {
        let order = match (is_number(a), is_number(b)) {
            (true, true) => numbers(a, b),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => texts(a, b),
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

fn fields(version: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut from = 0;
    for (at, delimiter) in version.match_indices(['-', ',', '.', '/']) {
        fields.push(&version[from..at]);
        fields.push(delimiter);
        from = at + delimiter.len();
    }
    fields.push(&version[from..]);
    fields
}

/// Cuts a text where digits begin and end.
fn runs(text: &str) -> Vec<&str> {
    text.as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .scan(0, |from, run| {
            let part = &text[*from..*from + run.len()];
            *from += run.len();
            Some(part)
        })
        .collect()
}

fn is_number(field: &str) -> bool {
    !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit())
}

/// Numbers of any length.
fn numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 1.5, the golden table: stored, offered, and 1 where the offered one is newer.
    const GOLDEN: &[(&str, &str, i8)] = &[
        ("1", "2", 1),
        ("2", "1", -1),
        ("1.9", "1.10", 1),
        ("1.10", "1.9", -1),
        ("1.0", "1.0.1", 1),
        ("1.0", "1.0a", -1),
        ("1.0a", "1.0b", 1),
        ("1.0rc1", "1.0", 1),
        ("3.3.0-1", "3.3.0-2", 1),
        ("20150618211400", "20150619000000", 1),
        ("1..2", "1.2", 1),
        ("1-2", "1.2", 1),
        ("1.2", "1-2", -1),
        ("1,2", "1.2", 1),
        ("1/2", "1-2", -1),
        ("01", "1", 0),
        ("1.a", "1.1", 1),
        ("a9", "a10", 1),
        ("v2", "v10", 1),
        ("1_2", "1_10", 1),
        ("", "1", 1),
        ("A", "a", 1),
    ];

    #[test]
    fn the_golden_table() {
        for (stored, offered, expected) in GOLDEN {
            assert_eq!(compare(offered, stored) as i8, *expected, "{stored} and {offered}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_order_has_two_sides(a in "[0-9a-zé.,/-]{0,8}", b in "[0-9a-zé.,/-]{0,8}") {
            proptest::prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            proptest::prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
