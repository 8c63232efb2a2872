//! The table: ours, floor, peer, ratios, targets.

use serde_json::{Value, json};

/// One measure.
struct Row {
    measure: String,
    ours: String,
    beside: String,
    target: String,
    met: Option<bool>,
    detail: Value,
}

/// All measures of a run.
pub(crate) struct Table {
    machine: String,
    rows: Vec<Row>,
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

impl Table {
    pub(crate) fn new(machine: String) -> Table {
        Table { machine, rows: Vec::new() }
    }

    /// A time beside another one, with the most (or least) that the ratio of the medians may be.
    pub(crate) fn ratio(
        &mut self,
        measure: &str,
        ours: &[f64],
        name: &str,
        other: &[f64],
        limit: Limit,
    ) {
        let ratio = median(ours) / median(other);
        let (met, target) = match limit {
            Limit::AtMost(most) => (Some(ratio <= most), format!("at most {most} times {name}")),
            Limit::Faster(times) => {
                (Some(ratio * times <= 1.0), format!("{times} times faster than {name}"))
            }
            Limit::None => (None, String::new()),
        };
        let ratio = match limit {
            Limit::AtMost(_) | Limit::None => format!("{ratio:.2} times"),
            Limit::Faster(_) => format!("{:.1} times faster", 1.0 / ratio),
        };
        self.rows.push(Row {
            measure: measure.to_owned(),
            ours: format!("{:.2} ms (least {:.2})", median(ours), least(ours)),
            beside: format!("{name}: {:.2} ms (least {:.2}); {ratio}", median(other), least(other)),
            target,
            met,
            detail: json!({ "ours_ms": ours, "other": name, "other_ms": other }),
        });
    }

    /// A figure with the most it may be.
    pub(crate) fn figure(
        &mut self,
        measure: &str,
        value: f64,
        unit: &str,
        most: f64,
        beside: &str,
    ) {
        self.rows.push(Row {
            measure: measure.to_owned(),
            ours: format!("{value:.2} {unit}"),
            beside: beside.to_owned(),
            target: format!("at most {most} {unit}"),
            met: Some(value <= most),
            detail: json!({ "value": value, "unit": unit }),
        });
    }

    /// Times in a unit beside another's, with the most that the ratio of the medians may be.
    pub(crate) fn times(
        &mut self,
        measure: &str,
        unit: &str,
        ours: &[f64],
        name: &str,
        other: &[f64],
        most: Option<f64>,
    ) {
        let ratio = median(ours) / median(other);
        self.row(
            measure,
            &format!("{:.2} {unit} (least {:.2})", median(ours), least(ours)),
            &format!(
                "{name}: {:.2} {unit} (least {:.2}); {ratio:.2} times",
                median(other),
                least(other)
            ),
            &most.map_or_else(String::new, |most| format!("at most {most} times {name}")),
            most.map(|most| ratio <= most),
            json!({ "unit": unit, "ours": median(ours), "other": name, "other_median": median(other) }),
        );
    }

    /// A row in its own words.
    pub(crate) fn row(
        &mut self,
        measure: &str,
        ours: &str,
        beside: &str,
        target: &str,
        met: Option<bool>,
        detail: Value,
    ) {
        self.rows.push(Row {
            measure: measure.to_owned(),
            ours: ours.to_owned(),
            beside: beside.to_owned(),
            target: target.to_owned(),
            met,
            detail,
        });
    }

    /// A measure that could not be taken.
    pub(crate) fn missing(&mut self, measure: &str, why: &str) {
        self.rows.push(Row {
            measure: measure.to_owned(),
            ours: "not measured".to_owned(),
            beside: why.to_owned(),
            target: String::new(),
            met: None,
            detail: Value::Null,
        });
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("Machine: {}. Medians.\n\n", self.machine);
        text.push_str(
            "| measure | vnode | beside it, same run | target | met |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let met = row.met.map_or("-", |met| if met { "yes" } else { "**no**" });
            text.push_str(&format!(
                "| {} | {} | {} | {} | {met} |\n",
                row.measure, row.ours, row.beside, row.target
            ));
        }
        text
    }

    pub(crate) fn write(&self) {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| json!({ "measure": r.measure, "ours": r.ours, "beside": r.beside, "target": r.target, "met": r.met, "detail": r.detail }))
            .collect();
        let all = json!({ "machine": self.machine, "rows": rows });
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join("results.json"), format!("{all:#}\n"))?;
            std::fs::write(dir.join("results.md"), self.markdown())
        };
        if let Err(error) = write() {
            eprintln!("cannot write to {}: {error}", dir.display());
        }
    }
}

/// What a ratio may be.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Ours at most so many times the other.
    AtMost(f64),
    /// Ours so many times faster.
    Faster(f64),
    /// Nothing is asked; the figure is told.
    None,
}
