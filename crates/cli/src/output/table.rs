//! Tables: fitted to the width on a terminal, plain columns in a pipe.

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
            table.add_row(row);
        }
        output.line(&table.trim_fmt())
    }
}

/// Names and reasons come from outside: nothing in them moves the cursor.
fn clean(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
    fn cells_cannot_break_a_line() {
        let mut rows = Rows::new(&["A"]);
        rows.add(vec!["x\ny\x1b[1m".into()]);
        assert_eq!(rows.plain(), "A\nx y [1m\n");
    }
}
