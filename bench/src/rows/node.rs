//! One node from the host's root: create, first process, gone.
//!
//! The floor and crun make a container and write nothing durable down, so what stands beside them is the part of ours
//! that does the same: the driver, with the host's mask, user namespace, monitor, control group and confinement that a
//! node has. What a user waits for at the API comes after it: two operations with two durable commits each, and the
//! control network of a lab made and taken away, which crun has nothing like.

use serde_json::json;
use vnode_testkit::{Host, built_program};

use super::{CRUN_PRELUDE, crun_bundle};
use crate::api::{Api, socket};
use crate::program::{Shell, floor, numbers};
use crate::table::{Limit, Table};

const ROUNDS: usize = 20;

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let bare = floor(&host, "node_floor");
    let driver = built_program("examples/one_node");
    let folder = host.dir().join("one-node").display().to_string();
    let bundle = crun_bundle(&host, "bundle", &["/bin/true"]);
    let mut crun = Shell::start(&host, CRUN_PRELUDE);
    host.vnode(&["ps"]).ok();
    let mut api = Api::connect(&socket(&host.state_dir()));
    let (mut ours, mut host_ids, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let (mut floor, mut peer) = (Vec::new(), Vec::new());
    let create = json!({ "node": "n", "lab": "bench", "image": "host", "command": ["/bin/true"], "boot": true });
    // The first of each three warms.
    let whole_of = |lines: Vec<Vec<f64>>| lines.into_iter().skip(1).map(|line| line[0]);
    for round in 0..=ROUNDS {
        let start = std::time::Instant::now();
        api.operate("POST", "/v1/nodes", Some(&create));
        api.operate("DELETE", "/v1/nodes/bench%2Fn", None);
        let time = start.elapsed().as_secs_f64() * 1e3;
        let run = crun.time(&format!("crun run --bundle {} bench{round}", bundle.display()));
        let bare = numbers(&host, &bare, &["/", "3", "/bin/true"]);
        let mapped = numbers(&host, &driver, &[&folder, "3", "/bin/true"]);
        let plain = numbers(&host, &driver, &[&folder, "3", "/bin/true", "--host-ids"]);
        // The first round warms all of them.
        if round > 0 {
            whole.push(time);
            peer.push(run);
            floor.extend(whole_of(bare));
            ours.extend(whole_of(mapped));
            host_ids.extend(whole_of(plain));
        }
    }
    let measure = "one node from the host's root: create, first process, gone (driver)";
    let bare = "bare clone3 + overlay + pivot_root + exec";
    let run = "`crun run` of the same root";
    table.ratio(measure, &ours, bare, &floor, Limit::AtMost(1.5));
    table.ratio(measure, &ours, run, &peer, Limit::Faster(3.0));
    let plain = "the same without a user namespace, as the floor and crun";
    table.ratio(plain, &host_ids, bare, &floor, Limit::None);
    let api = "the same by the API: durable, with its lab and control network";
    table.ratio(api, &whole, run, &peer, Limit::None);
}
