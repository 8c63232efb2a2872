//! Tables: fitted to the width on a terminal, with states in colour; plain columns in a pipe.

use comfy_table::{ContentArrangement, Table};
use vnode_api::Problem;

use super::Output;

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Rows {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: vec![] }
    }

    /// One row; an empty cell is shown as `-`, so that columns can be counted by programs.
    pub(crate) fn add(&mut self, cells: Vec<String>) {
        let fill = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.into_iter().map(|cell| fill(clean(&cell))).collect());
    }

    pub(crate) fn print(&self, output: &Output) -> Result<(), Problem> {
        if output.terminal { self.fitted(output) } else { output.text(&self.plain()) }
    }

    /// Columns as wide as their widest cell, two spaces between, no line broken.
    fn plain(&self) -> String {
        let mut width: Vec<usize> = self.heading.iter().map(|cell| cell.len()).collect();
        for row in &self.rows {
            for (width, cell) in width.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let heading: Vec<String> = self.heading.iter().map(|cell| (*cell).to_owned()).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let last = row.len().saturating_sub(1);
            for (at, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if at < last {
                    let space = width[at] - cell.chars().count() + 2;
                    text.extend(std::iter::repeat_n(' ', space));
                }
            }
            text.push('\n');
        }
        text
    }

    fn fitted(&self, output: &Output) -> Result<(), Problem> {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
            && size.ws_col > 0
        {
            table.set_width(size.ws_col);
        }
        table.set_header(self.heading.iter().copied());
        for row in &self.rows {
            let cells = self.heading.iter().zip(row);
            table.add_row(cells.map(|(heading, cell)| marked(heading, cell)));
        }
        output.line(&painted(&table.trim_fmt(), output.colour))
    }
}

/// Marks of no width that stand for colours while the table is laid out, and what a terminal is told for them.
const MARKS: [(char, &str); 4] = [
    ('\u{2061}', "\x1b[32m"), // green
    ('\u{2062}', "\x1b[33m"), // yellow
    ('\u{2063}', "\x1b[31m"), // red
    (END, "\x1b[0m"),
];
const END: char = '\u{2064}';

/// The mark of a word that says how something is.
fn mark(heading: &str, cell: &str) -> Option<char> {
    if !matches!(heading, "STATE" | "HEALTH" | "VERDICT") {
        return None;
    }
    Some(match cell {
        "running" | "up" | "healthy" | "ok" | "completed" | "happened" => '\u{2061}',
        "failed" | "fail" | "unhealthy" | "unknown" | "rolled-back" | "dropped" => '\u{2063}',
        "-" | "stopped" | "halted" | "none" | "over" | "due" | "absent" => return None,
        _ => '\u{2062}',
    })
}

fn marked(heading: &str, cell: &str) -> String {
    match mark(heading, cell) {
        Some(mark) => format!("{mark}{cell}{END}"),
        None => cell.to_owned(),
    }
}

/// Puts colours in the place of the marks, or nothing; the heading is bold. A colour ends with its line.
fn painted(table: &str, colour: bool) -> String {
    let mut text = String::with_capacity(table.len());
    for (at, line) in table.split('\n').enumerate() {
        if at > 0 {
            text.push('\n');
        }
        if colour && at == 0 {
            text.push_str("\x1b[1m");
        }
        let mut open = at == 0;
        for c in line.chars() {
            match MARKS.iter().find(|(mark, _)| *mark == c) {
                Some((mark, code)) if colour => {
                    open = *mark != END;
                    text.push_str(code);
                }
                Some(_) => {}
                None => text.push(c),
            }
        }
        if colour && open {
            text.push_str("\x1b[0m");
        }
    }
    text
}

/// Names and reasons come from outside: nothing in them moves the cursor.
fn clean(cell: &str) -> String {
    let ours = |c| MARKS.iter().any(|(mark, _)| *mark == c);
    cell.chars().map(|c| if c.is_control() || ours(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_columns_line_up_and_empty_cells_are_dashes() {
        let mut rows = Rows::new(&["LAB", "NODE", "STATE"]);
        rows.add(vec!["first".into(), "r1".into(), "running".into()]);
        rows.add(vec!["l".into(), "node-2".into(), String::new()]);
        assert_eq!(
            rows.plain(),
            "LAB    NODE    STATE\nfirst  r1      running\nl      node-2  -\n"
        );
    }

    #[test]
    fn states_have_colours_where_they_are_wanted() {
        let table = format!("NODE  STATE\na     {}", marked("STATE", "running"));
        assert_eq!(
            painted(&table, true),
            "\x1b[1mNODE  STATE\x1b[0m\na     \x1b[32mrunning\x1b[0m"
        );
        assert_eq!(painted(&table, false), "NODE  STATE\na     running");
        // A word that is broken does not colour what stands beside its end.
        let broken = format!("S\n{}run x", mark("STATE", "failed").unwrap());
        assert_eq!(painted(&broken, true), "\x1b[1mS\x1b[0m\n\x1b[31mrun x\x1b[0m");
        assert_eq!(marked("NODE", "running"), "running", "a node may be called so");
        assert_eq!(marked("STATE", "stopped"), "stopped");
    }

    #[test]
    fn cells_cannot_break_a_line() {
        let mut rows = Rows::new(&["A"]);
        rows.add(vec!["x\ny\x1b[1m\u{2063}".into()]);
        assert_eq!(rows.plain(), "A\nx y [1m \n");
    }
}
