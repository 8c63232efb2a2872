//! Tcl's `expr`, as far as loops and numbers of nodes need it: numbers, the four sums and `%`, comparisons, `&&`, `||`, `!`.

/// Deepest nesting of brackets and signs.
const DEPTH: u32 = 64;

/// The value; none when it is not such an expression, or has none.
pub(super) fn value(text: &str) -> Option<f64> {
    let mut parser = Parser { rest: text.trim(), depth: 0 };
    let value = parser.binary(0)?;
    parser.rest.trim().is_empty().then_some(value).filter(|value| value.is_finite())
}

/// As Tcl writes it: a whole number without its point.
pub(super) fn shown(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        value.to_string()
    }
}

/// Operators by their strength, weakest first.
const LEVELS: [&[&str]; 6] =
    [&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl Parser<'_> {
    fn binary(&mut self, level: usize) -> Option<f64> {
        let Some(operators) = LEVELS.get(level) else { return self.single() };
        let mut left = self.binary(level + 1)?;
        loop {
            self.rest = self.rest.trim_start();
            let Some(operator) = operators.iter().find(|o| self.rest.starts_with(**o)) else {
                return Some(left);
            };
            self.rest = &self.rest[operator.len()..];
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
    }

    fn single(&mut self) -> Option<f64> {
        self.rest = self.rest.trim_start();
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let value = if let Some(inner) = self.rest.strip_prefix('(') {
            self.rest = inner;
            let value = self.binary(0)?;
            self.rest = self.rest.trim_start().strip_prefix(')')?;
            value
        } else if let Some(inner) = self.rest.strip_prefix('-') {
            self.rest = inner;
            -self.single()?
        } else if let Some(inner) = self.rest.strip_prefix('!') {
            self.rest = inner;
            truth(self.single()? == 0.0)
        } else {
            let end = self
                .rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(self.rest.len());
            let (number, rest) = self.rest.split_at(end);
            self.rest = rest;
            number.parse().ok()?
        };
        self.depth -= 1;
        Some(value)
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn apply(operator: &str, left: f64, right: f64) -> Option<f64> {
    let whole = left.fract() == 0.0 && right.fract() == 0.0;
    Some(match operator {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" | "%" if right == 0.0 => return None,
        // Whole numbers are divided as Tcl does: downwards.
        "/" if whole => (left / right).floor(),
        "/" => left / right,
        "%" => left - right * (left / right).floor(),
        "<" => truth(left < right),
        ">" => truth(left > right),
        "<=" => truth(left <= right),
        ">=" => truth(left >= right),
        "==" => truth(left == right),
        "!=" => truth(left != right),
        "&&" => truth(left != 0.0 && right != 0.0),
        "||" => truth(left != 0.0 || right != 0.0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_tcls() {
        for (text, result) in [
            ("1 + 2 * 3", "7"),
            ("(1+2)*3", "9"),
            ("7 / 2", "3"),
            ("-7 / 2", "-4"),
            ("7.0 / 2.5", "2.8"),
            ("-7 % 3", "2"),
            ("1 < 2 && !(3 == 4)", "1"),
            ("2 <= 1 || 0", "0"),
        ] {
            assert_eq!(value(text).map(shown).as_deref(), Some(result), "{text}");
        }
        for bad in ["", "1 +", "1 / 0", "x", "(1", "1 2", &"(".repeat(500), &"-".repeat(5000)] {
            assert_eq!(value(bad), None, "{bad}");
        }
    }
}
