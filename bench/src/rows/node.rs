//! One node from the host's root: create, first process, gone.

use serde_json::json;
use vnode_testkit::Host;

use super::{CRUN_PRELUDE, crun_bundle};
use crate::api::{Api, socket};
use crate::program::{Shell, floor, numbers};
use crate::table::{Limit, Table};

const ROUNDS: usize = 20;

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let bare = floor(&host, "node_floor");
    let bundle = crun_bundle(&host, "bundle", &["/bin/true"]);
    let mut crun = Shell::start(&host, CRUN_PRELUDE);
    host.vnode(&["ps"]).ok();
    let mut api = Api::connect(&socket(&host.state_dir()));
    let (mut ours, mut floor, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    let create = json!({ "node": "n", "lab": "bench", "image": "host", "command": ["/bin/true"], "boot": true });
    for round in 0..=ROUNDS {
        let start = std::time::Instant::now();
        api.operate("POST", "/v1/nodes", Some(&create));
        api.operate("DELETE", "/v1/nodes/bench%2Fn", None);
        let time = start.elapsed().as_secs_f64() * 1e3;
        let run = crun.time(&format!("crun run --bundle {} bench{round}", bundle.display()));
        let bare = numbers(&host, &bare, &["/", "3", "/bin/true"]);
        // The first round warms all three.
        if round > 0 {
            ours.push(time);
            peer.push(run);
            floor.extend(bare.into_iter().flatten());
        }
    }
    let measure = "one node from the host's root: create, first process, gone (API)";
    table.ratio(
        measure,
        &ours,
        "bare clone3 + overlay + pivot_root + exec",
        &floor,
        Limit::AtMost(1.5),
    );
    table.ratio(measure, &ours, "`crun run` of the same root", &peer, Limit::Faster(3.0));
}
