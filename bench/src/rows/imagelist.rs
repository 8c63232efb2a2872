//! Signed image lists: a large image from a server on the loopback into the catalogue, beside `curl` and `sha512sum`
//! of the same file; refreshes that change nothing; runs of a cache that has all it wants.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use vnode_testkit::{Host, eventually, find_program};

use crate::table::{Limit, Table, median};

const ROUNDS: usize = 3;
/// Lists and images of each, for the rows about many.
const LISTS: usize = 50;
const EACH: usize = 40;
const CACHED: usize = 1000;

/// Size of the large image, MiB: `VNODE_BENCH_LIST_MIB`, by default 256; the target's is 2048.
fn mib() -> u64 {
    let size = std::env::var("VNODE_BENCH_LIST_MIB").ok().and_then(|text| text.parse().ok());
    size.unwrap_or(256)
}

fn script() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/imagelist/make-list.sh");
    path.display().to_string()
}

/// Milliseconds that a piece of work takes.
fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that sends files with `sendfile`, so that it costs little of what is measured.
fn serve(host: &Host, folder: &str) -> Server {
    let child = host
        .command("busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:8080", "-h", folder])
        .stdout(Stdio::null())
        .spawn()
        .expect("busybox starts");
    let server = Server(child);
    eventually("the server answers", Duration::from_secs(30), || {
        let answer = host.run("curl", &["-s", "-o", "/dev/null", "http://127.0.0.1:8080/"]);
        (answer.code == 0).then_some(())
    });
    server
}

fn sh(host: &Host, text: &str) {
    host.run("sh", &["-ec", text]).ok();
}

pub(crate) fn measure(table: &mut Table) {
    for program in ["curl", "openssl", "busybox", "gzip"] {
        if find_program(program).is_none() {
            table.missing("image lists", &format!("no {program}"));
            return;
        }
    }
    large(table);
    many(table);
}

fn large(table: &mut Table) {
    let host = Host::new();
    let folder = host.dir().join("list").display().to_string();
    let own = host.dir().display().to_string();
    let mib = mib();
    // Half of it is noise, half compresses well.
    sh(
        &host,
        &format!(
            "head -c {}M /dev/urandom > {own}/disk; base64 {own}/disk | head -c {}M >> {own}/disk; \
             gzip -1 -c {own}/disk > {own}/disk.gz; \
             BASE=http://127.0.0.1:8080 {} {folder} 1 raw={own}/disk packed={own}/disk.gz; rm {own}/disk.gz",
            mib / 2,
            mib.div_ceil(2),
            script()
        ),
    );
    let _server = serve(&host, &folder);
    host.vnode(&["image", "settings", "--trust", &format!("{folder}/ca"), "--keep-expired", "0"])
        .ok();
    host.vnode(&["image", "subscribe", "http://127.0.0.1:8080/image.list", "--auto-endorse"]).ok();
    let daemon = host.daemon_process().expect("the daemon runs");
    let written = || {
        let text = std::fs::read_to_string(daemon.proc("io")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_default()
    };
    let (mut ours, mut curl, mut hash, mut apart, mut packed) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut factor = 0.0;
    for _ in 0..ROUNDS {
        let before = written();
        ours.push(timed(|| drop(host.vnode(&["image", "want", "raw"]).ok())));
        factor = (written() - before) as f64 / (mib << 20) as f64;
        host.vnode(&["image", "expire", "raw"]).ok();
        packed.push(timed(|| drop(host.vnode(&["image", "want", "packed"]).ok())));
        host.vnode(&["image", "expire", "packed"]).ok();
        sh(&host, &format!("rm -f {}/lists/cache/expired/*", host.state_dir().display()));
        let to = format!("{own}/curled");
        let fetch = |name: &str| {
            let from = format!("http://127.0.0.1:8080/images/{name}-1");
            // As durable as ours.
            sh(&host, &format!("curl -sS -o {to} {from} && sync {to}"));
        };
        curl.push(timed(|| fetch("raw")));
        hash.push(timed(|| sh(&host, &format!("sha512sum {to} > /dev/null"))));
        apart.push(timed(|| {
            fetch("packed");
            sh(&host, &format!("sha512sum {to} > /dev/null; gzip -dc {to} > {to}.raw; sync {to}.raw; rm {to}.raw"));
        }));
        sh(&host, &format!("rm -f {to}"));
    }
    let slower =
        if median(&curl) > median(&hash) { ("curl to disk", curl) } else { ("sha512sum", hash) };
    // 85 % of its speed: 1.176 times its time.
    let limit = Limit::AtMost(1.17);
    let what = format!("an image of {mib} MiB from the loopback into the catalogue, verified");
    table.ratio(&what, &ours, slower.0, &slower.1, limit);
    let what = format!("the same packed with gzip ({mib} MiB unpacked)");
    table.ratio(&what, &packed, "curl, sha512sum, gzip -d", &apart, Limit::Faster(2.0));
    let peak = daemon.memory_kib("VmHWM") as f64 / 1024.0;
    table.figure("the daemon's memory at its peak", peak, "MiB", 64.0, "whatever the size");
    table.figure("bytes written for each byte of an image", factor, "times", 1.05, "once");
}

fn many(table: &mut Table) {
    let host = Host::new();
    let own = host.dir().display().to_string();
    sh(&host, &format!("mkdir {own}/lists; echo disk > {own}/disk"));
    let script = script();
    // All lists are signed by one endorser: the keys of the first are copied.
    for list in 0..LISTS {
        let folder = format!("{own}/lists/{list}");
        if list > 0 {
            sh(
                &host,
                &format!("mkdir {folder}; cp -r {own}/lists/0/ca {own}/lists/0/private {folder}"),
            );
        }
        let images: String =
            (0..EACH).map(|image| format!(" image-{list}-{image}={own}/disk")).collect();
        sh(
            &host,
            &format!(
                "LIST=list-{list} BASE=http://127.0.0.1:8080/{list} {script} {folder} 1{images}"
            ),
        );
    }
    let _server = serve(&host, &format!("{own}/lists"));
    host.vnode(&["image", "settings", "--trust", &format!("{own}/lists/0/ca")]).ok();
    for list in 0..LISTS {
        let uri = format!("http://127.0.0.1:8080/{list}/image.list");
        let mut argv = vec!["image", "subscribe", &uri, "--auto-endorse"];
        if list < CACHED / EACH {
            argv.push("--all");
        }
        host.vnode(&argv).ok();
    }
    let refresh: Vec<f64> =
        (0..ROUNDS).map(|_| timed(|| drop(host.vnode(&["image", "refresh"]).ok()))).collect();
    let what = format!("refresh of {LISTS} unchanged lists of {} images", LISTS * EACH);
    table.figure(&what, median(&refresh), "ms", 2000.0, "with the start of the command");
    let idle: Vec<f64> =
        (0..ROUNDS * 3).map(|_| timed(|| drop(host.vnode(&["image", "expire"]).ok()))).collect();
    let what = format!("a run of a cache of {CACHED} images with nothing to do");
    table.figure(&what, median(&idle), "ms", 50.0, "with the start of the command");

    let folder = format!("{own}/lists/large");
    let images: String = (0..1000).map(|image| format!(" large-{image}={own}/disk")).collect();
    let sign = |version: usize| {
        sh(
            &host,
            &format!(
                "LIST=large BASE=http://127.0.0.1:8080/large {script} {folder} {version}{images}"
            ),
        );
    };
    sh(&host, &format!("mkdir {folder}; cp -r {own}/lists/0/ca {own}/lists/0/private {folder}"));
    sign(1);
    let uri = "http://127.0.0.1:8080/large/image.list";
    host.vnode(&["image", "subscribe", uri, "--auto-endorse"]).ok();
    let mut verified = Vec::new();
    for round in 0..ROUNDS {
        sign(round + 2);
        verified.push(timed(|| drop(host.vnode(&["image", "refresh", "large"]).ok())));
    }
    let what = "a new version of a list of 1,000 images, verified and compared";
    table.figure(
        what,
        median(&verified),
        "ms",
        200.0,
        "with an idle run of the cache, and the start of the command",
    );
}
