//! Where the points of a drawing stand: the same for the same lab, near to what they are linked to.

use super::Picture;

/// Up to this many points push each other apart; beyond, they stand in rows.
const MOST_PUSHED: usize = 250;
const ROUNDS: usize = 250;

/// Positions in units of one point's usual distance to the next, from (0, 0) up.
pub(super) fn place(picture: &Picture) -> Vec<(f64, f64)> {
    let count = picture.points.len();
    let order = breadth_first(picture);
    let mut positions = vec![(0.0, 0.0); count];
    if count > MOST_PUSHED {
        let columns = (count as f64).sqrt().ceil() as usize;
        for (rank, point) in order.iter().enumerate() {
            positions[*point] = ((rank % columns) as f64, (rank / columns) as f64);
        }
        return positions;
    }
    // Neighbours in the order of the search begin as neighbours on a circle.
    let radius = (count as f64).sqrt().max(1.0);
    for (rank, point) in order.iter().enumerate() {
        let angle = rank as f64 / count.max(1) as f64 * std::f64::consts::TAU;
        positions[*point] = (radius * angle.cos(), radius * angle.sin());
    }
    for round in 0..ROUNDS {
        let step = radius * 0.3 * (1.0 - round as f64 / ROUNDS as f64) + 0.01;
        push(picture, &mut positions, step);
    }
    lay_flat(&mut positions);
    to_origin(&mut positions);
    positions
}

/// One round: points push each other away, lines pull, the middle pulls a little.
fn push(picture: &Picture, positions: &mut [(f64, f64)], step: f64) {
    let count = positions.len();
    let mut forces = vec![(0.0, 0.0); count];
    for one in 0..count {
        for other in one + 1..count {
            let (dx, dy, distance) = between(positions[one], positions[other], one);
            let force = 0.5 / distance.powi(3);
            let (fx, fy) = (dx * force, dy * force);
            forces[one].0 -= fx;
            forces[one].1 -= fy;
            forces[other].0 += fx;
            forces[other].1 += fy;
        }
    }
    for line in picture.lines.iter().filter(|line| line.from != line.to) {
        let (dx, dy, distance) = between(positions[line.from], positions[line.to], line.from);
        let force = (distance - 1.0) * 0.6 / distance;
        let (fx, fy) = (dx * force, dy * force);
        forces[line.from].0 += fx;
        forces[line.from].1 += fy;
        forces[line.to].0 -= fx;
        forces[line.to].1 -= fy;
    }
    for (position, force) in positions.iter_mut().zip(forces) {
        let (fx, fy) = (force.0 - position.0 * 0.03, force.1 - position.1 * 0.03);
        let length = fx.hypot(fy).max(1e-9);
        let move_by = length.min(step) / length;
        position.0 += fx * move_by;
        position.1 += fy * move_by;
    }
}

/// The way from one point to the other; points on one spot are taken apart by their number.
fn between(one: (f64, f64), other: (f64, f64), number: usize) -> (f64, f64, f64) {
    let (dx, dy) = (other.0 - one.0, other.1 - one.1);
    let distance = dx.hypot(dy);
    if distance > 0.05 {
        (dx, dy, distance)
    } else {
        let angle = number as f64;
        (0.05 * angle.cos(), 0.05 * angle.sin(), 0.05)
    }
}

/// Turns the drawing so that it is as wide and as low as it can be: screens are.
fn lay_flat(positions: &mut [(f64, f64)]) {
    let count = positions.len().max(1) as f64;
    let sum = positions.iter().fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
    let middle = (sum.0 / count, sum.1 / count);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in positions.iter_mut() {
        *x -= middle.0;
        *y -= middle.1;
        xx += *x * *x;
        xy += *x * *y;
        yy += *y * *y;
    }
    // Direction in which the points are spread most.
    let (sin, cos) = (0.5 * (2.0 * xy).atan2(xx - yy)).sin_cos();
    for (x, y) in positions {
        (*x, *y) = (*x * cos + *y * sin, *y * cos - *x * sin);
    }
}

fn to_origin(positions: &mut [(f64, f64)]) {
    let low =
        positions.iter().fold((f64::MAX, f64::MAX), |low, at| (low.0.min(at.0), low.1.min(at.1)));
    for position in positions {
        position.0 -= low.0;
        position.1 -= low.1;
    }
}

/// All points, each after one it is linked to where there is one.
fn breadth_first(picture: &Picture) -> Vec<usize> {
    let count = picture.points.len();
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); count];
    for line in &picture.lines {
        near[line.from].push(line.to);
        near[line.to].push(line.from);
    }
    let mut seen = vec![false; count];
    let mut order = Vec::with_capacity(count);
    for start in 0..count {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut next = order.len();
        order.push(start);
        while let Some(point) = order.get(next).copied() {
            next += 1;
            for &other in &near[point] {
                if !seen[other] {
                    seen[other] = true;
                    order.push(other);
                }
            }
        }
    }
    order
}
