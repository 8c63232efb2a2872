//! A site for one test: a server, a cache folder, and the event program as vmcatcher would run it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use vnode_opennebula::{
    client::{Client, Session},
    cloud::Cloud,
    image::{Image, Permissions, State},
    names,
};

use crate::fake::{Fake, Kept, SESSION};

/// Names the child test and carries its arguments.
pub(crate) const CHILD: &str = "VNODE_TEST_ARGUMENTS";

/// Which server a test runs against.
pub(crate) struct Site {
    /// `None` for a real server.
    fake: Option<Fake>,
    url: String,
    pub(crate) folder: TempDir,
    /// The image of this test.
    pub(crate) id: String,
    session: String,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.log);
    }
}

impl Site {
    /// The stand-in, whatever else is there: for what cannot be asked of a real server.
    pub(crate) fn fake() -> Self {
        let fake = Fake::begin();
        let url = fake.url();
        Self::at(Some(fake), url, tempfile::tempdir().expect("a folder"), SESSION.to_owned())
    }

    /// A real server when `VNODE_ONE_LIVE` has its address (`ONE_AUTH`: its session; its default datastore must take
    /// files below `/var/tmp`), else the stand-in.
    pub(crate) fn new() -> Self {
        let Ok(url) = std::env::var("VNODE_ONE_LIVE") else { return Self::fake() };
        let auth = std::env::var("ONE_AUTH").expect("ONE_AUTH names the file with the session");
        let session = std::fs::read_to_string(auth).expect("ONE_AUTH can be read");
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        Self::at(None, url, folder, session.lines().next().unwrap_or_default().to_owned())
    }

    fn at(fake: Option<Fake>, url: String, folder: TempDir, session: String) -> Self {
        std::fs::create_dir(folder.path().join("cache")).expect("the cache folder");
        std::fs::write(folder.path().join("one_auth"), format!("{session}\n")).expect("a session");
        let id = uuid::Uuid::now_v7().to_string();
        Self { fake, url, folder, id, session }
    }

    pub(crate) fn server(&self) -> &Fake {
        self.fake.as_ref().expect("this test is of the stand-in only")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.cache().join("templates")
    }

    /// Puts a raw disk into the cache.
    pub(crate) fn disk(&self, content: &[u8]) -> PathBuf {
        self.file(&raw(content))
    }

    pub(crate) fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.cache().join(&self.id);
        std::fs::write(&path, content).expect("a file in the cache");
        path
    }

    pub(crate) fn settings(&self, text: &str) {
        std::fs::write(self.folder.path().join("one.toml"), text).expect("settings");
    }

    /// The variables of an event of this test's image.
    pub(crate) fn event(&self, kind: &str, sha512: &str) -> Vec<(String, String)> {
        let own = [
            ("VMCATCHER_EVENT_TYPE", kind),
            ("VMCATCHER_EVENT_DC_IDENTIFIER", self.id.as_str()),
            ("VMCATCHER_EVENT_DC_TITLE", "Demo"),
            ("VMCATCHER_EVENT_DC_DESCRIPTION", "Demonstration image"),
            ("VMCATCHER_EVENT_HV_FORMAT", "RAW"),
            ("VMCATCHER_EVENT_HV_HYPERVISOR", "KVM"),
            ("VMCATCHER_EVENT_HV_VERSION", "1.0"),
            ("VMCATCHER_EVENT_SL_CHECKSUM_SHA512", sha512),
            ("VMCATCHER_EVENT_IL_DC_IDENTIFIER", "6f2b1f0e-0d5b-4c53-9a7c-5a1f3c9d1e01"),
            ("VMCATCHER_EVENT_AD_MPURI", "https://market.example.org/image/1/"),
            ("VMCATCHER_EVENT_VO", "demo.example.org"),
            ("VMCATCHER_EVENT_FILENAME", self.id.as_str()),
        ];
        let cache = self.cache().to_str().expect("a path").to_owned();
        own.into_iter()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .chain([("VMCATCHER_CACHE_DIR_CACHE".to_owned(), cache)])
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// Runs the program with an event, as vmcatcher does.
    pub(crate) fn run(&self, event: &[(String, String)]) -> Ran {
        self.run_with(event, &[], &[])
    }

    pub(crate) fn run_with(
        &self,
        event: &[(String, String)],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Ran {
        finished(self.command(event, arguments, environment).output().expect("it starts"))
    }

    pub(crate) fn command(
        &self,
        event: &[(String, String)],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Command {
        let mut all = vec![vnode_opennebula::program::NAME];
        all.extend_from_slice(arguments);
        let settings = self.folder.path().join("one.toml");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(["child", "--exact", "--nocapture", "-q"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "Europe/Madrid")
            .env("ONE_XMLRPC", &self.url)
            .env("ONE_AUTH", self.folder.path().join("one_auth"))
            .env(CHILD, all.join("\u{1f}"));
        if settings.exists() {
            command.env("VMCHNDL_ON_CONFIG", settings);
        }
        command
            .envs(event.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().copied());
        command
    }

    /// A cloud of the library's own.
    pub(crate) fn cloud(&self) -> Cloud {
        let session = Session::new(self.session.as_str());
        let limit = std::time::Duration::from_secs(60);
        Cloud::new(Client::new(&self.url, session, limit).expect("an address"))
    }

    /// Images of this test, by number.
    pub(crate) fn images(&self) -> Vec<Image> {
        let mut all = wait(self.cloud().images()).expect("a pool");
        all.retain(|image| image.is_of(&self.id));
        all.sort_by_key(|image| image.id);
        all
    }

    /// The only image named `ID`.
    #[track_caller]
    pub(crate) fn named(&self) -> Image {
        let mut all = self.images();
        all.retain(|image| image.name == self.id);
        assert_eq!(all.len(), 1, "{:#?}", self.images());
        all.remove(0)
    }

    /// As the stand-in keeps it.
    #[track_caller]
    pub(crate) fn kept(&self, id: i64) -> Kept {
        self.server().world().images.get(&id).expect("the image is there").clone()
    }

    /// Registers an image behind the program's back, as it would have left it.
    pub(crate) fn present(&self, name: &str, standing: (i64, i64, &str), sha512: &str) -> i64 {
        let path = self.cache().join(format!("present-{sha512}"));
        std::fs::write(&path, raw(sha512.as_bytes())).expect("a disk");
        let (uid, gid, permissions) = standing;
        let template = names::template([
            ("NAME".to_owned(), name),
            ("PATH".to_owned(), path.to_str().expect("a path")),
            ("TYPE".to_owned(), "OS"),
            ("VMCATCHER_EVENT_DC_IDENTIFIER".to_owned(), self.id.as_str()),
            ("VMCATCHER_EVENT_SL_CHECKSUM_SHA512".to_owned(), sha512),
            ("SITE_WORD".to_owned(), "of the site's own"),
        ]);
        let cloud = self.cloud();
        wait(async {
            let id = cloud.allocate(&template, 1).await.expect("registered");
            loop {
                let image = cloud.image(id).await.expect("answered").expect("there");
                match image.state {
                    State::Locked => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    State::Ready => break,
                    other => panic!("{other:?}"),
                }
            }
            cloud.chown(id, uid, gid).await.expect("given");
            cloud.chmod(id, octal(permissions)).await.expect("allowed");
            id
        })
    }

    /// Methods called since the last time this was asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.server().world().calls)
    }

    /// Nothing of preparing or of journals is left, and no image half way.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        for folder in [self.work(), self.work().join(".journal")] {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let left: Vec<_> = entries
                .map(|entry| entry.expect("readable").file_name())
                .filter(|name| name != ".journal")
                .collect();
            assert!(left.is_empty(), "{left:?} in {}", folder.display());
        }
        let half: Vec<_> = self.images().into_iter().filter(|i| i.name.contains("_NEW_")).collect();
        assert!(half.is_empty(), "{half:#?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.fake.is_some() {
            return;
        }
        let cloud = self.cloud();
        for image in self.images() {
            if let Err(error) = wait(cloud.delete(image.id, true)) {
                eprintln!("image {} of a test is left: {error}", image.id);
            }
        }
    }
}

pub(crate) fn finished(output: Output) -> Ran {
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!log.contains("secret-word"), "the password is in the log: {log}");
    assert!(!log.contains("panicked"), "{log}");
    Ran { code: output.status.code(), log }
}

/// Changes variables of an event; an empty value takes one away.
pub(crate) fn with(
    mut event: Vec<(String, String)>,
    changes: &[(&str, &str)],
) -> Vec<(String, String)> {
    for (name, value) in changes {
        event.retain(|(own, _)| own != name);
        if !value.is_empty() {
            event.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    event
}

/// A raw disk: a boot sector's mark, then what is given.
pub(crate) fn raw(content: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 4096];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[1024..1024 + content.len()].copy_from_slice(content);
    disk
}

pub(crate) fn octal(text: &str) -> Permissions {
    text.parse().expect("octal")
}

pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Names of everything below a folder.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
