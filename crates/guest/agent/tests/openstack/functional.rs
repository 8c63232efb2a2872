//! FN-1: what upstream's functional script does as a client, over a real XenStore daemon.

use std::path::Path;

use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use base64::Engine as _;
use md5::Digest as _;
use serde_json::{Value, json};
use vnode_agent::{
    command::{Form, Policy, Registry},
    context::Context,
};
use vnode_testkit::{Xenstored, skip};

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

/// Version, then the key exchange and the password, each answered over the real daemon. The reset in between is
/// the network commands' own.
#[tokio::test]
async fn fn_1_the_functional_script() {
    if let Some(why) = Xenstored::missing() {
        skip(&why);
        return;
    }
    let store = Store::Real(Xenstored::start());
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/shadow"), "root:*:1:0:99999:7:::\n").unwrap();
    let mut start = Start::new(store.settings());
    start.root = Some(root);
    let agent = start.run();
    let mut host = store.host().await;

    let (code, version) = host.call("version", "version", json!("agent")).await;
    assert_eq!(code, "0");
    assert!(version.bytes().all(|b| b.is_ascii_digit() || b == b'.'));

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
    let shadow = std::fs::read_to_string(agent.root.path().join("etc/shadow")).unwrap();
    assert!(shadow.starts_with("root:$6$"), "{shadow}");
}
