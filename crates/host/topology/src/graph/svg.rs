//! A drawing that needs nothing but a browser.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::layout::place;
use super::{Picture, Point, Shape};
use crate::model::Lab;

/// Pixels from one point to the next.
const DISTANCE: f64 = 170.0;
const MARGIN: f64 = 90.0;
const HEIGHT: f64 = 34.0;
/// Longest label drawn, in characters.
const LONGEST: usize = 40;

const STYLE: &str = "
  svg { background: #ffffff; font-family: 'DejaVu Sans', Verdana, sans-serif; }
  line, path { stroke: #64748b; stroke-width: 1.6; fill: none; }
  rect, ellipse { stroke: #1e293b; stroke-width: 1.4; fill: #e0f2fe; }
  .bridge { fill: #fef3c7; } .network { fill: #dcfce7; } .outside { fill: #f1f5f9; stroke-dasharray: 5 3; }
  text { font-size: 13px; fill: #0f172a; text-anchor: middle; dominant-baseline: central; }
  .interface { font-size: 10px; fill: #475569; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
  .note { font-size: 10px; fill: #b45309; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
";

/// The lab as an SVG drawing.
pub fn svg(lab: &Lab) -> String {
    let picture = Picture::of(lab);
    let spots: Vec<(f64, f64)> = place(&picture)
        .into_iter()
        .map(|(x, y)| (x * DISTANCE + MARGIN, y * DISTANCE * 0.8 + MARGIN))
        .collect();
    let far = spots.iter().fold((0.0_f64, 0.0_f64), |far, at| (far.0.max(at.0), far.1.max(at.1)));
    let (width, height) = (far.0 + MARGIN, far.1 + MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n",
        escaped(&lab.name)
    );
    lines(&picture, &spots, &mut out);
    for (point, spot) in picture.points.iter().zip(&spots) {
        shape(point, *spot, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn lines(picture: &Picture, spots: &[(f64, f64)], out: &mut String) {
    // Several links between the same two are drawn side by side.
    let mut beside: HashMap<(usize, usize), usize> = HashMap::new();
    let mut labels = String::new();
    for line in &picture.lines {
        let pair = (line.from.min(line.to), line.from.max(line.to));
        let number = beside.entry(pair).or_insert(0);
        let aside = ((*number).div_ceil(2) as f64)
            * 22.0
            * if number.is_multiple_of(2) { 1.0 } else { -1.0 };
        *number += 1;
        let (from, to) = (spots[line.from], spots[line.to]);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        // The side of the lesser number, so that both directions bend one way.
        let turn = if line.from <= line.to { 1.0 } else { -1.0 };
        let (nx, ny) = (-dy / length * aside * turn, dx / length * aside * turn);
        if line.from == line.to {
            let (x, y) = (from.0, from.1 - HEIGHT / 2.0);
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                out,
                "<path d=\"M {:.1} {y:.1} C {:.1} {:.1} {:.1} {:.1} {:.1} {y:.1}\"/>",
                x - 10.0,
                x - 40.0,
                y - 50.0 - aside.abs(),
                x + 40.0,
                y - 50.0 - aside.abs(),
                x + 10.0
            );
            text(&mut labels, "interface", (x - 30.0, y - 30.0), &line.from_label);
            text(&mut labels, "interface", (x + 30.0, y - 30.0), &line.to_label);
            continue;
        }
        let middle = ((from.0 + to.0) / 2.0 + nx * 2.0, (from.1 + to.1) / 2.0 + ny * 2.0);
        let _ = writeln!(
            out,
            "<path d=\"M {:.1} {:.1} Q {:.1} {:.1} {:.1} {:.1}\"/>",
            from.0, from.1, middle.0, middle.1, to.0, to.1
        );
        let on_way = |part: f64| {
            // A point of the curve.
            let rest = 1.0 - part;
            let at =
                |a: f64, m: f64, b: f64| rest * rest * a + 2.0 * rest * part * m + part * part * b;
            (at(from.0, middle.0, to.0), at(from.1, middle.1, to.1))
        };
        let clear = (48.0 / length).clamp(0.2, 0.42);
        text(&mut labels, "interface", on_way(clear), &line.from_label);
        text(&mut labels, "interface", on_way(1.0 - clear), &line.to_label);
        text(&mut labels, "note", on_way(0.5), &line.note);
    }
    out.push_str(&labels);
}

fn shape(point: &Point, (x, y): (f64, f64), out: &mut String) {
    let label = shortened(&point.label);
    let width = (label.chars().count() as f64 * 8.2 + 22.0).max(52.0);
    let class = match point.shape {
        Shape::Node => "node",
        Shape::Bridge => "bridge",
        Shape::Network => "network",
        Shape::Outside => "outside",
    };
    let mut title = point.label.clone();
    if let Some(group) = &point.group {
        title = format!("{title} (group {group})");
    }
    // Writing to a String cannot fail, here and below.
    let _ = write!(out, "<g><title>{}</title>", escaped(&title));
    if point.shape == Shape::Network {
        let _ = write!(
            out,
            "<ellipse class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" rx=\"{:.1}\" ry=\"{:.1}\"/>",
            width / 2.0 + 8.0,
            HEIGHT / 2.0 + 3.0
        );
    } else {
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" rx=\"6\"/>",
            x - width / 2.0,
            y - HEIGHT / 2.0
        );
    }
    text(out, "label", (x, y), &label);
    out.push_str("</g>\n");
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), label: &str) {
    if !label.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(&shortened(label))
        );
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Text that is text to an XML reader, whatever it is made of.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
