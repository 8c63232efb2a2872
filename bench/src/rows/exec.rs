//! An empty program in a running node.

use vnode_testkit::Host;

use super::{CRUN_PRELUDE, crun_bundle, star};
use crate::program::Shell;
use crate::table::{Limit, Table};

const ROUNDS: usize = 50;

pub(crate) fn measure(table: &mut Table) {
    let host = Host::new();
    let file = host.write("one.clab.yml", &star("one", 1)).display().to_string();
    host.vnode(&["up", &file]).ok();
    let bundle = crun_bundle(&host, "bundle", &["/bin/sleep", "1000000"]);
    let mut shell = Shell::start(&host, CRUN_PRELUDE);
    // The container must not hold the shell's pipe.
    shell.time(&format!("crun create --bundle {} c1 2>/dev/null", bundle.display()));
    shell.time("crun start c1");
    let (mut ours, mut peer, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let times = [
            shell.vnode("exec n1 -- /bin/true"),
            shell.time("crun exec c1 /bin/true"),
            shell.time("/bin/true"),
        ];
        if round > 0 {
            ours.push(times[0]);
            peer.push(times[1]);
            bare.push(times[2]);
        }
    }
    shell.time("crun delete --force c1");
    host.vnode(&["down", &file]).ok();
    table.ratio(
        "an empty program by `vnode exec`",
        &ours,
        "`crun exec`",
        &peer,
        Limit::AtMost(0.4),
    );
    table.ratio(
        "the same",
        &ours,
        "/bin/true on the host, twice (client and program)",
        &twice(&bare),
        Limit::AtMost(2.0),
    );
}

/// The floor of a command line tool that runs a program elsewhere is two process starts.
fn twice(times: &[f64]) -> Vec<f64> {
    times.iter().map(|t| t * 2.0).collect()
}
