//! What a program in a sandbox can do, and what not.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use vnode_action::{CancellationToken, Error, Sandbox, Spec, User, run};

/// Runs a script in a sandbox: what it printed, and what it complained of; `None` where there can be no sandbox.
async fn confined(script: &str, writable: &[&Path]) -> Option<(String, String)> {
    let writable = writable.iter().map(|folder| folder.to_path_buf()).collect();
    let spec = Spec::new(["/bin/sh", "-c", script])
        .env("PATH", "/usr/bin:/bin")
        .capture(64 << 10)
        .time_limit(Duration::from_secs(60))
        .sandbox(Sandbox { writable, ..Sandbox::default() });
    match run(spec, &CancellationToken::new()).await {
        Ok(output) => Some((
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
        Err(Error::Start { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            println!("skipped: needs CAP_SYS_ADMIN");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Outside of `/tmp`, which a sandbox has of its own.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[tokio::test]
async fn files_are_read_only_but_those_of_the_folders_named() {
    let (open, closed) = (folder(), folder());
    let script = format!(
        "echo a >{0}/file && cat {0}/file; echo b >{1}/file; echo c >/proc/sys/kernel/hostname; mkdir /etc/vnode-test; \
         echo d >/dev/null && echo devices",
        open.path().display(),
        closed.path().display()
    );
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some((out, err)) = confined(&script, &[open.path()]).await else { return };
    assert_eq!(out, "a\ndevices\n", "{err}");
    assert_eq!(err.matches("Read-only file system").count(), 3, "{err}");
    assert_eq!(fs::read_to_string(open.path().join("file")).unwrap(), "a\n");
    assert!(!closed.path().join("file").exists());
    assert_eq!(
        fs::read_to_string("/proc/self/mountinfo").unwrap(),
        before,
        "nothing is seen outside"
    );
}

#[tokio::test]
async fn temporary_files_network_and_capabilities_are_its_own_or_none() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "ls {} && echo seen; cd /tmp && echo x >x && ls /tmp /var/tmp; tail -n +3 /proc/net/dev | cut -d: -f1; \
         grep -E 'CapPrm|CapEff|NoNewPrivs' /proc/self/status",
        outside.path().display()
    );
    let Some((out, err)) = confined(&script, &[]).await else { return };
    assert!(err.contains("No such file"), "{err}");
    let words: Vec<&str> = out.split_whitespace().collect();
    let none = "0000000000000000";
    let wanted =
        ["/tmp:", "x", "/var/tmp:", "lo", "CapPrm:", none, "CapEff:", none, "NoNewPrivs:", "1"];
    assert_eq!(words, wanted, "{out}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_and_no_program_runs() {
    let spec = Spec::new(["/bin/true"])
        .sandbox(Sandbox { writable: vec!["/nowhere/at-all".into()], ..Sandbox::default() });
    match run(spec, &CancellationToken::new()).await {
        Err(Error::Start { stage, .. }) => assert!(stage.contains("sandbox"), "{stage}"),
        other => panic!("{other:?}"),
    }
}

/// One instruction of a filter, as the kernel has it.
fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), k.to_ne_bytes());
    u64::from_ne_bytes([a, b, jt, jf, c, d, e, f])
}

#[tokio::test]
async fn a_call_that_is_filtered_is_refused_to_the_program_and_to_nobody_else() {
    const ALLOW: u32 = 0x7fff_0000;
    let refused = 0x0005_0000 | libc::EDOM.unsigned_abs();
    let number = |call: libc::c_long| u32::try_from(call).unwrap();
    let filter = vec![
        instruction(0x20, 0, 0, 0), // the call's number
        instruction(0x15, 1, 0, number(libc::SYS_sethostname)),
        instruction(0x15, 0, 1, number(libc::SYS_umask)),
        instruction(0x06, 0, 0, refused),
        instruction(0x06, 0, 0, ALLOW),
    ];
    let spec = |filter| {
        Spec::new(["/bin/sh", "-c", "grep Seccomp: /proc/self/status; umask 077; umask"])
            .env("PATH", "/usr/bin:/bin")
            .capture(4096)
            .time_limit(Duration::from_secs(60))
            .sandbox(Sandbox { filter, ..Sandbox::default() })
    };
    let own = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Seccomp:")).unwrap().to_owned()
    };
    let before = own();
    for (filter, filtered) in [(filter, true), (Vec::new(), false)] {
        match run(spec(filter), &CancellationToken::new()).await {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(!filtered || text.starts_with("Seccomp:\t2\n"), "{text}");
                assert_ne!(text.ends_with("0077\n"), filtered, "{text}");
            }
            Err(Error::Start { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
                println!("skipped: needs CAP_SYS_ADMIN");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    // Ours is as it was, though the program began in our memory.
    assert_eq!(own(), before);
    let long = vec![0; usize::from(u16::MAX) + 1];
    let error = run(spec(long), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error:?}");
}

#[tokio::test]
async fn a_device_is_open_to_the_program_alone() {
    // Where only its owner may open it, as hosts without udev have `/dev/fuse`.
    let made = tempfile::tempdir_in("/dev").map_err(|error| error.to_string()).and_then(|folder| {
        let (path, mode) = (folder.path().join("null"), rustix::fs::Mode::from_raw_mode(0o600));
        let number = rustix::fs::makedev(1, 3);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let kind = rustix::fs::FileType::CharacterDevice;
        let made = rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, number);
        made.map(|()| (folder, path)).map_err(|error| error.to_string())
    });
    let (_folder, path) = match made {
        Ok(made) => made,
        Err(error) => return println!("skipped: no device can be made here: {error}"),
    };
    let writes = |devices: Vec<PathBuf>| {
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        Spec::new(["/bin/sh", "-c", "echo > $0"])
            .arg(&path)
            .user(nobody)
            .time_limit(Duration::from_secs(60))
            .sandbox(Sandbox { devices, ..Sandbox::default() })
    };
    let token = CancellationToken::new();
    assert!(!run(writes(Vec::new()), &token).await.unwrap().success());
    assert!(run(writes(vec![path.clone()]), &token).await.unwrap().success());
    // The file itself is as it was, and what is no device is refused before anything starts.
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = run(writes(vec!["/etc/passwd".into()]), &token).await.unwrap_err();
    assert!(matches!(error, Error::Spec { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_stands_in_the_place_of_another_for_the_program_alone() {
    let folder = folder();
    let [other, place] = ["other", "place"].map(|name| folder.path().join(name));
    fs::write(&other, "the other\n").unwrap();
    fs::write(&place, "the place\n").unwrap();
    let spec = Spec::new(["/bin/cat"])
        .arg(&place)
        .capture(4096)
        .time_limit(Duration::from_secs(60))
        .sandbox(Sandbox { covered: vec![(other, place.clone())], ..Sandbox::default() });
    match run(spec, &CancellationToken::new()).await {
        Ok(output) => assert_eq!(output.stdout, b"the other\n"),
        Err(Error::Start { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            println!("skipped: needs CAP_SYS_ADMIN");
        }
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(fs::read(&place).unwrap(), b"the place\n");
}
