//! Making all ready that a new process needs, before there is one.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags};

use crate::{
    clone::{Confined, Image},
    error::{Error, Result},
    spec::{Sandbox, Session, Spec, Stdin, Stream},
};

/// Where programs are looked for when the environment given has no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Our ends of the pipes.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Makes all ready that the child needs.
pub(crate) fn prepare(spec: Spec) -> Result<(Image, Ours)> {
    let program = spec.program();
    let wrong = |reason: &str| Error::Spec { program: program.clone(), reason: reason.to_owned() };
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| wrong("it holds a zero byte"));
    let path = find(&spec)?;
    let mut environment = Vec::with_capacity(spec.environment.len());
    for (name, value) in &spec.environment {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(wrong("the name of a variable is empty or holds `=`"));
        }
        environment.push(text([name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let numbers = spec.passed.iter().map(|(number, _)| *number);
    if numbers.clone().any(|number| !(3..1024).contains(&number)) {
        return Err(wrong("a descriptor is passed under a number outside 3 to 1023"));
    }
    // Above every number given out, so that none is overwritten before it is used.
    let least = numbers.max().unwrap_or(2) + 1;
    let failed = |doing| {
        let program = program.clone();
        move |error: rustix::io::Errno| Error::Io { program, doing, source: error.into() }
    };
    let high = |descriptor: OwnedFd| {
        if descriptor.as_raw_fd() >= least {
            return Ok(descriptor);
        }
        rustix::io::fcntl_dupfd_cloexec(&descriptor, least).map_err(failed("copy a descriptor for"))
    };
    let mut ours = Ours::default();
    let mut descriptors = Vec::with_capacity(3 + spec.passed.len());

    let stdin = match spec.stdin {
        Stdin::Null => null(OFlags::RDONLY).map_err(failed("open /dev/null for"))?,
        Stdin::Fd(descriptor) => descriptor,
        // What an empty pipe takes at once is in it before there is a reader.
        Stdin::Bytes(bytes) if bytes.len() <= rustix::pipe::PIPE_BUF => {
            let (reading, writing) = pipe(&failed)?;
            rustix::io::write(&writing, &bytes).map_err(failed("write the input of"))?;
            reading
        }
        Stdin::Bytes(_) | Stdin::Pipe => {
            let (reading, writing) = pipe(&failed)?;
            ours.stdin = Some(writing);
            reading
        }
        Stdin::Inherit => own(0).map_err(failed("copy the input for"))?,
    };
    descriptors.push((high(stdin)?, 0));
    for (number, stream) in [(1, spec.stdout), (2, spec.stderr)] {
        let stream = match stream {
            Stream::Null => null(OFlags::WRONLY).map_err(failed("open /dev/null for"))?,
            Stream::Fd(descriptor) => descriptor,
            Stream::Capture { .. } | Stream::Pipe => {
                let (reading, writing) = pipe(&failed)?;
                if number == 1 {
                    ours.stdout = Some(reading);
                } else {
                    ours.stderr = Some(reading);
                }
                writing
            }
            Stream::Inherit => own(number).map_err(failed("copy the output for"))?,
        };
        descriptors.push((high(stream)?, number));
    }
    for (number, descriptor) in spec.passed {
        descriptors.push((high(descriptor)?, number));
    }
    descriptors.sort_unstable_by_key(|(_, number)| *number);
    let mut groups = Vec::new();
    for path in spec.cgroup.iter().chain(&spec.entered) {
        let procs = path.join("cgroup.procs");
        let opened = rustix::fs::open(&procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        groups.push(high(opened.map_err(|error| Error::Cgroup {
            doing: "enter",
            path: path.clone(),
            source: error.into(),
        })?)?);
    }
    let folder = spec.folder.map(|folder| text(folder.into_os_string().into_vec())).transpose()?;
    let path_text = |path: PathBuf| text(path.into_os_string().into_vec());
    let texts = |paths: Vec<PathBuf>| paths.into_iter().map(path_text).collect::<Result<Vec<_>>>();
    let numbered = |path: PathBuf| {
        let found = rustix::fs::stat(&path);
        let found =
            found.map_err(|error| wrong(&format!("its device `{}`: {error}", path.display())))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice {
            return Err(wrong(&format!("`{}` is no character device", path.display())));
        }
        // The kernel's own form of it, which is that of the C library as far as it goes.
        let number = u32::try_from(found.st_rdev);
        let number = number.map_err(|_| wrong(&format!("the number of `{}`", path.display())))?;
        Ok((path_text(path)?, number))
    };
    let confined = match (spec.sandbox, spec.confinement) {
        (Some(Sandbox { writable, covered, devices, filter }), _) => {
            let pair = |(what, on)| Ok((path_text(what)?, path_text(on)?));
            if u16::try_from(filter.len()).is_err() {
                return Err(wrong("its filter of system calls is too long"));
            }
            Some(Confined {
                spaces: libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC,
                read_only: vec![c"/".to_owned()],
                writable: texts(writable)?,
                covered: covered.into_iter().map(pair).collect::<Result<_>>()?,
                devices: devices.into_iter().map(numbered).collect::<Result<_>>()?,
                private: &[c"/tmp", c"/var/tmp", c"/dev/shm"],
                capabilities: 0,
                no_new_privileges: true,
                filter,
            })
        }
        (None, Some(confinement)) => {
            let files = confinement.private_tmp || !confinement.read_only.is_empty();
            let spaces = [(files, libc::CLONE_NEWNS), (!confinement.network, libc::CLONE_NEWNET)];
            Some(Confined {
                spaces: spaces.into_iter().filter(|(own, _)| *own).map(|(_, space)| space).sum(),
                read_only: texts(confinement.read_only)?,
                writable: texts(confinement.writable)?,
                covered: Vec::new(),
                devices: Vec::new(),
                private: if confinement.private_tmp { &[c"/tmp", c"/var/tmp"] } else { &[] },
                capabilities: confinement.capabilities,
                no_new_privileges: confinement.no_new_privileges,
                filter: Vec::new(),
            })
        }
        (None, None) => None,
    };
    let argv = spec.argv.into_iter().map(|argument| text(argument.into_vec()));
    let image = Image {
        path: text(path.into_vec())?,
        argv: argv.collect::<Result<_>>()?,
        environment,
        folder,
        descriptors,
        groups,
        own_session: matches!(spec.session, Session::NewSession | Session::Terminal),
        terminal: spec.session == Session::Terminal,
        own_group: spec.session == Session::NewGroup,
        user: spec.user,
        limits: spec.limits,
        confined,
    };
    Ok((image, ours))
}

fn null(flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty())
}

fn own(number: i32) -> rustix::io::Result<OwnedFd> {
    match number {
        0 => rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3),
        1 => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
        _ => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
    }
}

fn pipe<F>(failed: &impl Fn(&'static str) -> F) -> Result<(OwnedFd, OwnedFd)>
where
    F: FnOnce(rustix::io::Errno) -> Error,
{
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed("make a pipe for"))
}

/// The file of a program: a path as it is, a name by the `PATH` of its own environment.
fn find(spec: &Spec) -> Result<OsString> {
    let name = spec.argv.first().map(OsString::as_os_str).unwrap_or_default();
    if name.is_empty() {
        let reason = "no program is named".to_owned();
        return Err(Error::Spec { program: String::new(), reason });
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let path = spec.environment.iter().find(|(variable, _)| variable == "PATH");
    let path: &OsStr = path.map_or(OsStr::new(PATH), |(_, path)| path.as_os_str());
    for folder in path.as_bytes().split(|&byte| byte == b':').filter(|folder| !folder.is_empty()) {
        let candidate = Path::new(OsStr::from_bytes(folder)).join(name);
        let access = rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK);
        if access.is_ok() && candidate.is_file() {
            return Ok(candidate.into_os_string());
        }
    }
    Err(Error::NotFound { program: spec.program(), path: path.to_string_lossy().into_owned() })
}
