use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    sync::Arc,
};

use serde_json::json;

use super::*;
use crate::command::{CommandSet, Policy, Registry};

struct Guest {
    dir: tempfile::TempDir,
    context: Context,
    commands: Arc<CommandSet>,
}

impl Guest {
    fn new() -> Self {
        Self::with(Value::Null)
    }

    fn with(options: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["etc", "root", "home/ann", "tmp"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nx:x:1:1::/:/\nbroken\n",
        )
        .unwrap();
        let mut builder = Context::builder(dir.path());
        if !options.is_null() {
            builder = builder.options("injectfile", options);
        }
        let commands = Arc::new(Registry::built_in().for_form(Form::Openstack, &Policy::default()));
        Self { context: builder.build().unwrap(), dir, commands }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    async fn call(&self, name: &str, value: Value) -> Result<(), String> {
        let called = self.commands.call(&self.context, name, value).await;
        match called.result {
            Ok(value) => {
                assert_eq!(value, "");
                Ok(())
            }
            Err(error) => Err(error.message().to_owned()),
        }
    }

    async fn inject(
        &self,
        path: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> Result<(), String> {
        let mut bytes = path.as_ref().to_vec();
        bytes.push(b',');
        bytes.extend_from_slice(content.as_ref());
        self.call("injectfile", encode(&bytes).into()).await
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().mode() & 0o7777
    }
}

fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let value = (bits >> (18 - 6 * place)) & 63;
            text.push(if place > chunk.len() { '=' } else { ALPHABET[value as usize].into() });
        }
    }
    text
}

fn refused() -> Result<(), String> {
    Err("Invalid path".to_owned())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn if_1_a_new_file_has_exactly_the_bytes() {
    let guest = Guest::new();
    let bytes: Vec<u8> =
        (0..2048u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    guest.inject("/etc/new", &bytes).await.unwrap();
    assert_eq!(fs::read(guest.path("etc/new")).unwrap(), bytes);
    assert_eq!(guest.mode("etc/new"), 0o644);
    assert_eq!(guest.names("etc"), ["new", "passwd"], "nothing else is left");
}

#[tokio::test]
async fn if_2_commas_of_the_content_are_kept() {
    let guest = Guest::new();
    let text = "test123,456,789\ntest456,789\n";
    guest.inject("/etc/new", text).await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("etc/new")).unwrap(), text);
}

#[tokio::test]
async fn if_3_mode_and_owner_are_kept() {
    let guest = Guest::new();
    let path = guest.path("etc/old");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    if is_root() {
        chown(&path, Some(0), Some(1)).unwrap();
    }
    let extended =
        rustix::fs::setxattr(&path, "user.note", b"kept", rustix::fs::XattrFlags::empty());
    guest.inject("/etc/old", "new").await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(guest.mode("etc/old"), 0o666);
    let metadata = fs::metadata(&path).unwrap();
    assert!(!is_root() || (metadata.uid(), metadata.gid()) == (0, 1));
    if extended.is_ok() {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&path, "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(fs::read_to_string(guest.path("etc/old.bak~")).unwrap(), "old");
    assert_eq!(guest.names("etc"), ["old", "old.bak~", "passwd"]);
}

#[tokio::test]
async fn if_4_the_table_of_values() {
    let guest = Guest::new();
    let call = async |value: &str| guest.call("injectfile", value.into()).await;
    call("L2V0Yy9tb3RkLGhlbGxvLCB3b3JsZAo=").await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("etc/motd")).unwrap(), "hello, world\n");
    call("L3Jvb3QveCwA/wo=").await.unwrap();
    assert_eq!(fs::read(guest.path("root/x")).unwrap(), b"\0\xff\n");
    call("L2EsYg==").await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("a")).unwrap(), "b");
    assert_eq!(call("L2V0Yy9tb3Rk").await, Err("need more than 1 value to unpack".into()));
    let no_base64 = || Err("Error doing base64 decoding of data".to_owned());
    assert_eq!(call("zzz").await, no_base64());
    assert_eq!(guest.call("injectfile", Value::Null).await, no_base64());
    assert_eq!(call("LGRhdGE=").await, refused());
    assert_eq!(call("cmVsLGFiYw==").await, refused());
}

/// R-F1.
#[tokio::test]
async fn if_4_paths_that_are_not_written() {
    let guest = Guest::new();
    fs::create_dir_all(guest.path("proc/self")).unwrap();
    for bad in [
        "/etc/../etc/x",
        "/..",
        "/",
        "/etc/",
        "/etc",
        "/etc/.",
        "//",
        "/proc/x",
        "/sys/a/b",
        "/dev/null",
        "/proc",
        "/etc/passwd/x",
        "/a\0b",
    ] {
        assert_eq!(guest.inject(bad, "x").await, refused(), "{bad:?}");
    }
    assert_eq!(guest.inject(format!("/etc/{}", "x".repeat(256)), "x").await, refused());
    guest.inject(b"/etc/\xff", "x").await.unwrap();
    guest.inject("//etc//./y", "x").await.unwrap();
    assert!(guest.path("etc/y").exists());
    let other = Guest::with(json!({"deny": ["/etc"], "max-bytes": 3}));
    assert_eq!(other.inject("/etc/x", "x").await, refused());
    assert!(other.inject("/root/x", "1234").await.unwrap_err().contains("4 bytes"));
    other.inject("/root/x", "123").await.unwrap();
    let fifo = guest.path("etc/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(guest.inject("/etc/fifo", "x").await, refused());
}

#[tokio::test]
async fn if_4_identical_content_changes_nothing() {
    let guest = Guest::new();
    guest.inject("/etc/x", "same").await.unwrap();
    let before = fs::metadata(guest.path("etc/x")).unwrap();
    guest.inject("/etc/x", "same").await.unwrap();
    assert_eq!(fs::metadata(guest.path("etc/x")).unwrap().ino(), before.ino());
    assert_eq!(guest.names("etc"), ["passwd", "x"]);
    for content in ["two", "three", "four"] {
        guest.inject("/etc/x", content).await.unwrap();
    }
    assert_eq!(guest.names("etc"), ["passwd", "x", "x.bak~"], "one backup");
    assert_eq!(fs::read_to_string(guest.path("etc/x.bak~")).unwrap(), "three");
}

#[tokio::test]
async fn if_4_links() {
    let guest = Guest::new();
    fs::write(guest.path("etc/target"), "old").unwrap();
    fs::create_dir(guest.path("etc/sub")).unwrap();
    symlink("target", guest.path("etc/inside")).unwrap();
    symlink("/etc/sub/file", guest.path("etc/absolute")).unwrap();
    fs::write(guest.path("etc/sub/file"), "old").unwrap();
    guest.inject("/etc/inside", "new").await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("etc/target")).unwrap(), "new");
    assert!(fs::symlink_metadata(guest.path("etc/inside")).unwrap().is_symlink());
    guest.inject("/etc/absolute", "new").await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("etc/sub/file")).unwrap(), "new");

    symlink("/root/secret", guest.path("etc/outside")).unwrap();
    fs::write(guest.path("root/secret"), "old").unwrap();
    symlink("nothing", guest.path("etc/dangling")).unwrap();
    symlink("loop", guest.path("etc/loop")).unwrap();
    symlink("../../../../etc/target", guest.path("root/climbing")).unwrap();
    for (link, why) in [
        ("/etc/outside", "leads out of its folder"),
        ("/etc/dangling", "leads to nothing"),
        ("/etc/loop", "leads to too many others"),
        ("/root/climbing", "leads out of its folder"),
    ] {
        let error = guest.inject(link, "evil").await.unwrap_err();
        assert!(error.starts_with("Invalid path") && error.contains(why), "{link}: {error}");
    }
    assert_eq!(fs::read_to_string(guest.path("root/secret")).unwrap(), "old");
    assert_eq!(fs::read_to_string(guest.path("etc/target")).unwrap(), "new");
}

/// A link that root put may lead elsewhere (`/var/run`); one that a user can put may not.
#[tokio::test]
async fn if_4_links_of_users() {
    if !is_root() {
        vnode_testkit::skip("not run as root");
        return;
    }
    let guest = Guest::new();
    fs::create_dir_all(guest.path("run")).unwrap();
    fs::create_dir_all(guest.path("var")).unwrap();
    symlink("/run", guest.path("var/run")).unwrap();
    guest.inject("/var/run/x", "1").await.unwrap();
    assert!(guest.path("run/x").exists());

    chown(guest.path("home/ann"), Some(1000), Some(1000)).unwrap();
    symlink("/etc", guest.path("home/ann/.ssh")).unwrap();
    let error = guest.inject("/home/ann/.ssh/passwd", "evil").await.unwrap_err();
    assert!(error.contains("leads out of its folder"), "{error}");
    assert!(!fs::read_to_string(guest.path("etc/passwd")).unwrap().contains("evil"));

    fs::set_permissions(guest.path("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("/etc", guest.path("tmp/d")).unwrap();
    assert!(guest.inject("/tmp/d/new", "evil").await.is_err());
    assert!(!guest.path("etc/new").exists());
}

/// IF-5: what the host does for `authorized_keys`.
#[tokio::test]
async fn if_5_a_key_of_roots() {
    let guest = Guest::new();
    let content = "\n# The following ssh key was injected by Nova\nssh-ed25519 AAAA me\n";
    guest.inject("/root/.ssh/authorized_keys", content).await.unwrap();
    assert_eq!(guest.mode("root/.ssh"), 0o700);
    assert_eq!(guest.mode("root/.ssh/authorized_keys"), 0o600);
    assert_eq!(fs::read_to_string(guest.path("root/.ssh/authorized_keys")).unwrap(), content);
}

#[tokio::test]
async fn if_5_a_home_belongs_to_its_owner() {
    if !is_root() {
        vnode_testkit::skip("not run as root");
        return;
    }
    let guest = Guest::new();
    chown(guest.path("home/ann"), Some(1000), Some(1001)).unwrap();
    guest.inject("/home/ann/.ssh/deep/authorized_keys", "k").await.unwrap();
    for (path, mode) in [
        ("home/ann/.ssh", 0o700),
        ("home/ann/.ssh/deep", 0o755),
        ("home/ann/.ssh/deep/authorized_keys", 0o600),
    ] {
        let metadata = fs::metadata(guest.path(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1000, 1001), "{path}");
        assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
    }
    guest.inject("/etc/new/deep/x", "k").await.unwrap();
    assert_eq!(guest.mode("etc/new/deep"), 0o755);
    assert_eq!(fs::metadata(guest.path("etc/new/deep/x")).unwrap().uid(), 0);
}

#[tokio::test]
async fn if_6_a_comma_in_the_path() {
    let guest = Guest::new();
    let value = json!({"b64_path": encode(b"/etc/a,b"), "b64_file": encode(b"c,d")});
    guest.call("file_inject", value).await.unwrap();
    assert_eq!(fs::read_to_string(guest.path("etc/a,b")).unwrap(), "c,d");
    for bad in [json!("x"), json!({}), json!({"b64_path": "L2E="}), Value::Null] {
        assert_eq!(guest.call("file_inject", bad).await, Err("Invalid arguments".into()));
    }
    let bad = json!({"b64_path": "zzz", "b64_file": ""});
    assert_eq!(
        guest.call("file_inject", bad).await,
        Err("Error doing base64 decoding of data".into())
    );
}

/// What an earlier agent left when it was killed is no hindrance.
#[tokio::test]
async fn leftovers_are_replaced() {
    let guest = Guest::new();
    guest.inject("/etc/x", "one").await.unwrap();
    for left in [TEMPORARY, ".vnode-inject.old"] {
        symlink("/etc/passwd", guest.path("etc").join(left)).unwrap();
    }
    guest.inject("/etc/x", "two").await.unwrap();
    assert_eq!(guest.names("etc"), ["passwd", "x", "x.bak~"]);
    assert!(fs::read_to_string(guest.path("etc/passwd")).unwrap().starts_with("root:"));
}
