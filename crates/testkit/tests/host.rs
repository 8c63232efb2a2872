//! The fixture itself: a host is whole, apart from the machine, and gone afterwards.
use vnode_testkit::{Host, Registry, image, needs};

#[test]
fn a_host_has_its_own_network_and_processes_and_goes_whole() {
    needs!(Root, Program("ip"), Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    assert_eq!(before.of("interface"), ["lo"]);
    host.run("ip", &["link", "add", "test0", "type", "veth", "peer", "name", "test1"]).ok();
    let left = before.diff(&host.snapshot());
    assert!(left.iter().any(|l| l == "new: interface test0"), "{left:?}");
    let mut sleeper = host.command("sleep").arg("1000").spawn().unwrap();
    let seen = vnode_testkit::eventually("the sleeper", std::time::Duration::from_secs(5), || {
        host.processes().into_iter().find(|p| p.argv.first().is_some_and(|a| a == "sleep"))
    });
    assert_eq!(host.processes().len(), 1);
    drop(host);
    assert!(!std::path::Path::new(&format!("/proc/{}", seen.pid)).exists());
    sleeper.wait().unwrap();
}

#[test]
fn limits_of_the_host_are_its_own() {
    needs!(Root);
    let host = Host::new();
    let groups = host.run("cat", &["/proc/self/cgroup"]).ok();
    for line in groups.stdout.lines() {
        let path = line.rsplit(':').next().unwrap();
        assert!(path == "/" || path == "/host", "{line}");
    }
}

#[test]
fn the_registry_serves_what_was_pushed() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    let host = Host::new();
    let registry = Registry::start(&host);
    let built = image::build(&image::ImageSpec::default());
    registry.push("frr/frr", "v1", &built);
    let url = format!("http://{}/v2/frr/frr/manifests/v1", registry.address);
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let got = host.run("busybox", &["wget", "-qO-", "--header", accept, &url]).ok();
    assert_eq!(got.stdout.as_bytes(), built.manifest);
    let blob =
        format!("http://{}/v2/frr/frr/blobs/{}", registry.address, image::digest(&built.layer));
    host.run("busybox", &["wget", "-qO", "/dev/null", &blob]).ok();
    assert_eq!(registry.downloads(&built.layer), 1);
}
