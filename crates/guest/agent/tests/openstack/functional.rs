//! FN-1: what upstream's functional script does as a client, over a real XenStore daemon.

use std::path::Path;

use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use base64::Engine as _;
use md5::Digest as _;
use serde_json::{Value, json};
use vnode_agent::{
    command::{Form, Policy, Registry, openstack::resetnetwork},
    context::Context,
};
use vnode_testkit::{Xenstored, needs, skip};

use super::agent::{Start, Store};

const P: u128 = (1 << 107) - 1;

/// The client's arithmetic, by doubling: slow, and written apart from the agent's.
pub(crate) fn power(base: u128, exponent: u128) -> u128 {
    let times = |a: u128, b: u128| {
        (0..107).rev().fold(0, |sum, bit| (sum * 2 + if b >> bit & 1 == 1 { a } else { 0 }) % P)
    };
    (0..128).rev().fold(1, |value, bit| {
        let square = times(value, value);
        if exponent >> bit & 1 == 1 { times(square, base % P) } else { square }
    })
}

/// The client's encryption, with the digest of old.
pub(crate) fn encrypt(shared: u128, password: &str) -> String {
    let passphrase = shared.to_string();
    let key = md5::Md5::digest(passphrase.as_bytes());
    let iv = md5::Md5::new().chain_update(key).chain_update(passphrase.as_bytes()).finalize();
    let mut text = format!("{password}\n").into_bytes();
    let padding = 16 - text.len() % 16;
    text.resize(text.len() + padding, u8::try_from(padding).unwrap());
    let mut cipher = cbc::Encryptor::<aes::Aes128>::new(&key, &iv);
    for block in text.chunks_exact_mut(16) {
        let block: &mut [u8; 16] = block.try_into().unwrap();
        cipher.encrypt_block(block.into());
    }
    base64::engine::general_purpose::STANDARD.encode(&text)
}

/// Sets the password of the system below `root`, by an agent of this process.
pub(crate) fn set_password_at(root: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let context = Context::builder(root).build().unwrap();
        let commands = Registry::built_in().for_form(Form::Openstack, &Policy::default());
        let answer = commands.call(&context, "keyinit", 25.into()).await.result.unwrap();
        let key: u128 = answer["message"].as_str().unwrap().parse().unwrap();
        let value = Value::from(encrypt(power(key, 2), "again"));
        commands.call(&context, "password", value).await.result.unwrap();
    });
}

/// Runs a test in a thread with a network of its own, in which the interface of the host's description is.
pub(crate) fn with_an_interface(mac: &str, test: impl AsyncFnOnce() + Send + 'static) {
    let mac = mac.to_owned();
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread is moved, and it holds nothing of the namespace it leaves.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        ip(&format!("link add eth0 address {mac} type veth peer name far0"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn ip(arguments: &str) {
    let mut command = std::process::Command::new("ip");
    let status = command.args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Version, then a reset, then the key exchange and the password, each answered over the real daemon.
#[test]
fn fn_1_the_functional_script() {
    needs!(Root, Program("ip"));
    if let Some(why) = Xenstored::missing() {
        skip(&why);
        return;
    }
    with_an_interface("42:40:8f:1e:a0:0a", the_script);
}

async fn the_script() {
    let store = Store::Real(Xenstored::start());
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("etc/shadow", "root:*:1:0:99999:7:::\n"),
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("etc/network/interfaces", "auto lo\niface lo inet loopback\n"),
        ("sbin/ifup", ""),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let settings = store.settings();
    let options = json!({"xenstore": settings.path, "base": settings.base});
    let mut start = Start::new(settings);
    start.root = Some(root);
    start.options = vec![(resetnetwork::NAME, options)];
    let agent = start.run();
    let mut host = store.host().await;
    let read = |path: &str| std::fs::read_to_string(agent.root.path().join(path)).unwrap();

    let (code, version) = host.call("version", "version", json!("agent")).await;
    assert_eq!(code, "0");
    assert!(version.bytes().all(|b| b.is_ascii_digit() || b == b'.'));

    let public = r#"{"label": "public", "mac": "42:40:8F:1E:A0:0A", "gateway": "192.0.2.1",
        "ips": [{"ip": "192.0.2.42", "netmask": "255.255.255.0", "enabled": "1"}]}"#;
    host.write("vm-data/hostname", "web1").await;
    host.write("vm-data/networking/42408F1EA00A", public).await;
    let answer = host.call("reset", "resetnetwork", json!("")).await;
    assert_eq!(answer, ("0".to_owned(), String::new()));
    assert!(read("etc/network/interfaces").contains("192.0.2.42"));
    assert_eq!(read("etc/hostname"), "web1\n");

    let secret = 0x1122_3344_5566_7788_99aa;
    let (code, _) = host.call("keyinit", "keyinit", json!(power(5, secret).to_string())).await;
    assert_eq!(code, "D0");
    // As the script does: the digits between quotes.
    let text = host.answer("keyinit").await.unwrap();
    let digits: Vec<&str> = text
        .split('"')
        .filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    let [key] = digits[..] else { panic!("not one number in quotes: {text}") };
    let shared = power(key.parse().unwrap(), secret);

    let answer = host.call("password", "password", json!(encrypt(shared, "TeStPaSsWoRd"))).await;
    assert_eq!(answer, ("0".to_owned(), String::new()));
    assert!(read("etc/shadow").starts_with("root:$6$"), "{}", read("etc/shadow"));
}

/// New addresses are published when the kernel tells of them, not at the next look a minute later.
#[test]
fn r_x13_an_address_is_published_as_it_comes() {
    needs!(Root, Program("ip"));
    with_an_interface("42:40:8f:1e:a0:0a", async || {
        let store = Store::memory();
        let root = tempfile::tempdir().unwrap();
        let node = root.path().join("sys/class/net/eth0/device/nodename");
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        std::fs::write(node, "device/vif/0\n").unwrap();
        let mut settings = store.settings();
        settings.publish = true;
        settings.root = Some(root.path().to_owned());
        let _agent = Start::new(settings).run();
        let mut host = store.host().await;
        let begin = tokio::time::Instant::now();
        let mut wait = async |path: &str| loop {
            if let Some(value) = host.read(path).await {
                break value;
            }
            // The look by time comes after a minute.
            assert!(begin.elapsed() < std::time::Duration::from_secs(50), "no {path}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        wait("data/updated").await;
        ip("addr add 192.0.2.7/24 dev eth0");
        assert_eq!(wait("attr/vif/0/ipv4/0").await, "192.0.2.7");
        ip("addr add 2001:db8::7/64 dev eth0 nodad");
        assert_eq!(wait("attr/vif/0/ipv6/0").await, "2001:db8::7");
    });
}
