//! NB-01 with nothing left out: the unmodified OpenStack client over TLS, the daemon, the agent in a node, real scripts.

use vnode_testkit::{Host, eventually, needs, skip, tools};
use vnode_tests::{SOON, lab, up};

#[test]
fn nb_01_an_orchestrator_drives_a_function_in_a_node() {
    needs!(Root, Program("python3"));
    let packages = match tools::python() {
        Ok(packages) => packages,
        Err(why) => return skip(&why),
    };
    let host = Host::new();
    let _daemon = host.start_daemon(&[("VNODE_LISTEN", "127.0.0.1:8443")]);
    up(&host, &lab("nfv", "n: {agent: on-demand}", ""));
    let token = host.vnode(&["token", "create", "orchestrator", "--json"]).ok().json();
    let token = token["token"].as_str().expect("a token is shown once").to_owned();
    let folder = host.write("archives/here", "").parent().expect("a folder").display().to_string();
    let certificate = eventually("the certificate", SOON, || {
        let found =
            host.run("find", &[&host.state_dir().display().to_string(), "-name", "*cert*.pem"]);
        found.stdout.lines().next().map(str::to_owned)
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/host/nfv/tests/orchestrator.py");
    let packages = format!("PYTHONPATH={}", packages.display());
    let out = host.run(
        "env",
        &[
            &packages,
            "PYTHONDONTWRITEBYTECODE=1",
            &format!("HOME={folder}"),
            "python3",
            script,
            &folder,
            "2",
            "--os-auth-type",
            "admin_token",
            "--os-token",
            &token,
            "--os-endpoint",
            "https://127.0.0.1:8443",
            "--os-cacert",
            &certificate,
        ],
    );
    assert!(out.ok().stdout.ends_with("done\n"));
    host.vnode(&["down", "nfv"]).ok();
}
