//! The difference of two texts, as `diff -u` shows it.

/// Lines around a change.
const CONTEXT: usize = 3;
/// Largest table of compared lines; beyond it the texts are shown as replaced.
const MAX_CELLS: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The changes from `old` to `new` with three lines around each; empty when there are none.
pub(crate) fn unified(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
    let name = |prefix: &str, there: bool| match there {
        true => format!("{prefix}{path}"),
        false => "/dev/null".to_owned(),
    };
    let head = format!("--- {}\n+++ {}\n", name("a", old.is_some()), name("b", new.is_some()));
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let lines = compared(&old, &new);
    let changed: Vec<usize> =
        (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    if changed.is_empty() {
        return String::new();
    }
    let mut out = head;
    let mut at = 0;
    while at < changed.len() {
        let start = changed[at].saturating_sub(CONTEXT);
        let mut end = changed[at] + CONTEXT + 1;
        while at + 1 < changed.len() && changed[at + 1] <= end + CONTEXT {
            at += 1;
            end = changed[at] + CONTEXT + 1;
        }
        at += 1;
        hunk(&mut out, &lines, start, end.min(lines.len()));
    }
    out
}

fn hunk(out: &mut String, lines: &[Line<'_>], start: usize, end: usize) {
    let count = |range: &[Line<'_>], old: bool| {
        let other = |line: &&Line<'_>| match line {
            Line::Same(_) => true,
            Line::Old(_) => old,
            Line::New(_) => !old,
        };
        range.iter().filter(other).count()
    };
    let place = |old: bool| {
        let (before, inside) = (count(&lines[..start], old), count(&lines[start..end], old));
        format!("{},{inside}", if inside == 0 { before } else { before + 1 })
    };
    *out += &format!("@@ -{} +{} @@\n", place(true), place(false));
    for line in &lines[start..end] {
        let (mark, text) = match line {
            Line::Same(text) => (' ', text),
            Line::Old(text) => ('-', text),
            Line::New(text) => ('+', text),
        };
        out.push(mark);
        *out += text;
        out.push('\n');
    }
}

/// The longest common subsequence, after what is the same at both ends.
fn compared<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[front..], &new[front..]);
    let back = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old_rest[..old_rest.len() - back], &new_rest[..new_rest.len() - back]);
    let mut lines: Vec<Line<'a>> = old[..front].iter().map(|l| Line::Same(l)).collect();
    let width = b.len() + 1;
    if (a.len() + 1).saturating_mul(width) > MAX_CELLS {
        lines.extend(a.iter().map(|l| Line::Old(l)));
        lines.extend(b.iter().map(|l| Line::New(l)));
    } else {
        // Length of the longest common subsequence of the two ends from here.
        let mut longest = vec![0u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                longest[i * width + j] = if a[i] == b[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                lines.push(Line::Same(a[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == b.len()
                || (i < a.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
            {
                lines.push(Line::Old(a[i]));
                i += 1;
            } else {
                lines.push(Line::New(b[j]));
                j += 1;
            }
        }
    }
    lines.extend(old[old.len() - back..].iter().map(|l| Line::Same(l)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        assert_eq!(
            unified("/f", Some(old.as_bytes()), Some(new.as_bytes())),
            "--- a/f\n+++ b/f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(
            unified("/f", None, Some(b"x\n")),
            "--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+x\n"
        );
        assert_eq!(unified("/f", Some(b"x\n"), Some(b"x\n")), "");
    }

    proptest::proptest! {
        #[test]
        fn the_new_lines_are_all_there(old in "([abc]\n){0,12}", new in "([abc]\n){0,12}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let lines = compared(&a, &b);
            let side = |keep_old: bool| -> Vec<&str> {
                lines.iter().filter_map(|l| match l {
                    Line::Same(t) => Some(*t),
                    Line::Old(t) => keep_old.then_some(*t),
                    Line::New(t) => (!keep_old).then_some(*t),
                }).collect()
            };
            proptest::prop_assert_eq!(side(true), a);
            proptest::prop_assert_eq!(side(false), b);
        }
    }
}
