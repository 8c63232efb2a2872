//! A virtual machine whose image has Debian's qemu-guest-agent and not ours.

use std::io::Write;
use std::time::{Duration, Instant};

use vnode_testkit::{Host, needs};
use vnode_tests::state;

#[test]
fn vm_t36_t41_t44_a_machine_with_debians_guest_agent_is_ready_runs_programs_and_has_files_copied() {
    needs!(Root, Program("nft"), Tool("usr/sbin/qemu-ga"));
    if let Some(why) = vnode_testkit::guest::missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    let image = host.dir().join("image");
    host.build_image(&image).ok();
    vnode_testkit::guest::put_qemu_ga(&image.join("initrd"));
    let text = format!(
        "name: stock\ntopology:\n  nodes:\n    vm:\n      kind: vm\n      memory: 448MiB\n      network-mode: none\n      \
         exec: [\"touch /root/configured\"]\n      \
         vm: {{kernel: {0}/vmlinux, initrd: {0}/initrd, ready: agent, ready-timeout: 200}}\n",
        image.display()
    );
    let file = host.write("stock.clab.yml", &text).display().to_string();
    // It is up when that agent answers: startup commands run by it.
    host.vnode(&["up", &file]).ok();
    let about = host.vnode(&["agent", "info", "vm", "--json"]).ok().stdout;
    assert!(about.contains("qemu-ga") && !about.contains("vnode-agent"), "{about}");
    host.exec("vm", &["test", "-e", "/root/configured"]).ok();

    // T-44: streams apart, the status, input, folder and variables.
    let out = host.exec("vm", &["sh", "-c", "echo to out; echo to err >&2; exit 7"]);
    assert_eq!((out.stdout.as_str(), out.code), ("to out\n", 7), "{}", out.all());
    assert_eq!(out.stderr, "to err\n");
    assert_eq!(host.exec("vm", &["sh", "-c", "kill -9 $$"]).code, 128 + 9);
    let given = host.vnode_with_input(&["exec", "vm", "--", "wc", "-c"], &[b'x'; 100_000]);
    assert_eq!(given.ok().stdout.trim(), "100000");
    let words = ["exec", "-w", "/etc", "-e", "A=b c", "vm", "--", "sh", "-c", "pwd; echo $A"];
    assert_eq!(host.vnode(&words).ok().stdout, "/etc\nb c\n");
    let none = host.exec("vm", &["/no/such/program"]);
    assert!(none.code != 0 && none.all().contains("/no/such/program"), "{}", none.all());

    // What its form cannot do is said, with the way out; and it goes on.
    let terminal = host.vnode(&["exec", "--tty", "vm", "--", "sh"]);
    let told = terminal.all();
    assert!(terminal.code != 0 && told.contains("qemu-ga gives no terminal"), "{told}");
    assert!(told.contains("install vnode-agent"), "{told}");
    let large = host.vnode_with_input(&["exec", "vm", "--", "cat"], &vec![b'x'; 600 << 10]);
    assert!(large.code != 0 && large.all().contains("qemu-ga"), "{}", large.all());
    let user = host.vnode(&["exec", "-u", "12", "vm", "--", "id"]);
    assert!(user.code != 0 && user.all().contains("name a user"), "{}", user.all());
    let limit = Instant::now();
    let late = host.vnode(&["exec", "--time", "2", "vm", "--", "sleep", "600"]);
    assert!(late.code == 4 && limit.elapsed() < Duration::from_secs(100), "{}", late.all());

    // T-36, T-44: files, a folder, and more than goes through a request at once, there and back.
    let tree = host.dir().join("tree");
    std::fs::create_dir_all(tree.join("deep/er")).expect("the host's directory is writable");
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).take(1_500_000).collect();
    let mut large = std::fs::File::create(tree.join("deep/large")).expect("as before");
    large.write_all(&bytes).expect("as before");
    std::os::unix::fs::symlink("deep/large", tree.join("link")).expect("as before");
    let own = tree.display().to_string();
    host.vnode(&["cp", &own, "vm:/root/"]).ok();
    let sum = host.exec("vm", &["sh", "-c", "wc -c </root/tree/link; ls -A /var/tmp"]).ok();
    assert_eq!(sum.stdout, "1500000\n", "all is there, and nothing left aside");
    let back = host.dir().join("back");
    std::fs::create_dir(&back).expect("as before");
    let to = back.display().to_string();
    host.vnode(&["cp", "vm:/root/tree", &to]).ok();
    assert!(std::fs::read(back.join("tree/deep/large")).expect("copied") == bytes);
    assert!(back.join("tree/deep/er").is_dir());
    let link = std::fs::read_link(back.join("tree/link")).expect("copied as what it is");
    assert_eq!(link.to_str(), Some("deep/large"));
    let absent = host.vnode(&["cp", "vm:/no/such/file", &to]);
    assert!(absent.code != 0 && absent.all().contains("/no/such/file"), "{}", absent.all());
    let nowhere = host.vnode(&["cp", &own, "vm:/no/such/folder/"]);
    assert!(nowhere.code != 0 && nowhere.all().contains("/no/such/folder"), "{}", nowhere.all());

    // T-55: another daemon finds it, with an agent that serves one at a time.
    host.kill9_daemon();
    assert_eq!(host.exec("vm", &["echo", "again"]).ok().stdout, "again\n");
    // Its agent ends with what it was asked last, and init starts it again.
    host.exec("vm", &["sh", "-c", "kill $(pidof qemu-ga)"]);
    vnode_testkit::eventually("its agent is back", Duration::from_secs(100), || {
        (host.exec("vm", &["echo", "back"]).stdout == "back\n").then_some(())
    });
    host.vnode(&["halt", "vm", "--time", "60"]).ok();
    assert_eq!(state(&host, "vm"), "stopped");
    host.vnode(&["down", "stock"]).ok();
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}
