//! A star of a hundred nodes on one bridge: up, reachable, down.

use std::path::Path;

use vnode_testkit::{Host, find_program};

use super::{address, star};
use crate::machine::settle;
use crate::program::{Shell, floor, numbers};
use crate::table::{Limit, Table};

const NODES: usize = 100;
const ROUNDS: usize = 11;

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let bare = floor(&host, "star_floor");
    let file = host.write("star.clab.yml", &star("star", NODES)).display().to_string();
    let mininet = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/mininet_star.py");
    let has_mininet = find_program("mn").is_some() && find_program("brctl").is_some();
    let mut times: [Vec<f64>; 6] = Default::default();
    let n = NODES.to_string();
    host.vnode(&["ps"]).ok();
    let mut shell = Shell::start(&host, "true");
    for round in 0..=ROUNDS {
        settle();
        let up = shell.vnode(&format!("up {file} --quiet"));
        if round == 0 {
            for i in 2..=NODES {
                assert!(host.ping("n1", &address(i)), "node {i} is not reachable");
            }
        }
        let down = shell.vnode(&format!("down {file} --quiet"));
        settle();
        let floor = numbers(&host, &bare, &[&n, "1"]);
        if round == 0 {
            continue;
        }
        times[0].push(up);
        times[1].push(down);
        for line in floor {
            times[2].push(line[0]);
            times[3].push(line[1]);
        }
        if has_mininet && round <= 3 {
            settle();
            for line in numbers(
                &host,
                Path::new("/usr/bin/python3"),
                &[&mininet.display().to_string(), &n, "1"],
            ) {
                times[4].push(line[0]);
                times[5].push(line[1]);
            }
        }
    }
    let [up, down, floor_up, floor_down, peer_up, peer_down] = times;
    if has_mininet {
        table.ratio(
            "star of 100 nodes: up (command line)",
            &up,
            "Mininet, Linux bridge",
            &peer_up,
            Limit::Faster(8.0),
        );
        table.ratio("star of 100 nodes: down", &down, "Mininet", &peer_down, Limit::Faster(8.0));
    } else {
        table.missing(
            "star of 100 nodes beside Mininet",
            "mininet and bridge-utils are not installed",
        );
    }
    table.ratio(
        "star of 100 nodes: up",
        &up,
        "the same messages and process starts",
        &floor_up,
        Limit::AtMost(1.6),
    );
    table.ratio("star of 100 nodes: down", &down, "its own up", &up, Limit::AtMost(1.0));
    table.ratio(
        "star of 100 nodes: down",
        &down,
        "the floor's down",
        &floor_down,
        Limit::AtMost(1.6),
    );
}
