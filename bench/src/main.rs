//! The speed and size table of this project: each row with its floor and its peer, measured in the same run, in turn.
//!
//! `cargo xtask bench` builds and runs it; arguments choose rows. It prints a table in Markdown and writes
//! `bench/out/results.json` and `bench/out/results.md`. It never asserts: people judge, with the machine beside the figures.
#![allow(clippy::disallowed_methods)] // floors and peers are programs; vnode-action is among what is measured

mod api;
mod machine;
mod program;
mod rows;
mod table;

use table::Table;

/// Takes one measure and its floors and peers into the table.
type Measure = fn(&mut Table);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let mut table = Table::new(machine::describe());
    let rows: [(&str, Measure); 9] = [
        ("node", rows::node::measure),
        ("exec", rows::exec::measure),
        ("star", rows::star::measure),
        ("scale", rows::scale::measure),
        ("vm", rows::vm::measure),
        ("imagelist", rows::imagelist::measure),
        ("agent", rows::agent::measure),
        ("component", rows::component::measure),
        ("vnf", rows::vnf::measure),
    ];
    for (name, measure) in rows {
        if !wanted(name) {
            continue;
        }
        eprintln!("measuring {name} (load {})", machine::load());
        // A row that cannot be measured must not take the others with it.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| measure(&mut table))).is_err() {
            table.missing(name, "failed; see above");
        }
    }
    println!("{}", table.markdown());
    table.write();
}
