//! Small machines to try things with: Debian's kernel, busybox and our agent, as a kernel and an initial RAM disk that QEMU
//! boots in seconds without firmware or disk.
//!
//! What is installed on the host is taken from there; what is not is fetched with `apt-get download` and unpacked, nothing
//! is installed. The machine takes its name, interfaces and addresses from the lines the driver gives it (`seed`).

mod cpio;
mod kernel;

use std::path::{Path, PathBuf};
use std::time::Duration;

use vnode_action::{CancellationToken, Spec};

use self::cpio::Tree;
use self::kernel::Kernel;

/// Names of the two files.
pub const KERNEL: &str = "vmlinux";
pub const INITRD: &str = "initrd";
/// `apt-get` may have to fetch seventy megabytes.
const DOWNLOAD: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(60);

/// Why no image was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no kernel that can be unpacked: it is packed neither with xz nor with zstd", path.display())]
    Kernel { path: PathBuf },
    #[error("no {what} on this host, and the package `{package}` does not hold it either")]
    Missing { what: &'static str, package: String },
    #[error("`{program}` failed: {text}")]
    Program { program: String, text: String },
    #[error(transparent)]
    Action(#[from] vnode_action::Error),
    #[error("the build was cancelled")]
    Cancelled,
}

fn fail(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Io { doing, path, source }
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildSpec {
    /// Folder the two files are put in; it is made, and what lies there under their names is replaced.
    pub folder: PathBuf,
    /// `vnode-agent`; without it the machine has no agent.
    pub agent: Option<PathBuf>,
    /// A folder in which Debian's packages were unpacked (`dpkg-deb --extract`, and `depmod -b` for a kernel): what is there
    /// is taken before what the host has, and nothing of it is fetched.
    pub packages: Option<PathBuf>,
}

/// How many steps a build tells of.
pub const STEPS: u64 = 4;

/// Builds the image; `progress` is told what begins, and which step of [`STEPS`] it is.
///
/// # Errors
/// A package cannot be fetched, a file not be written, or it was cancelled; then neither file has been replaced.
pub async fn build(
    spec: &BuildSpec,
    cancel: &CancellationToken,
    progress: &(dyn Fn(&str, u64) + Send + Sync),
) -> Result<(), BuildError> {
    progress("kernel and busybox", 0);
    let made = std::fs::create_dir_all(&spec.folder);
    made.map_err(fail("make", &spec.folder))?;
    let work = spec.folder.join(".build");
    clear(&work)?;
    std::fs::create_dir(&work).map_err(fail("make", &work))?;
    let built = in_folder(spec, &work, cancel, progress).await;
    // The first error is what is told; what is left of the folder is removed by the next build.
    let _ = clear(&work);
    built
}

async fn in_folder(
    spec: &BuildSpec,
    work: &Path,
    cancel: &CancellationToken,
    progress: &(dyn Fn(&str, u64) + Send + Sync),
) -> Result<(), BuildError> {
    let places = || spec.packages.as_deref().into_iter().chain([Path::new("/")]);
    let kernel = match places().find_map(Kernel::find) {
        Some(kernel) => kernel,
        None => {
            let package = kernel_package(cancel).await?;
            fetch(&package, work, cancel).await?;
            depmod(work, cancel).await?;
            let missing = BuildError::Missing { what: "kernel", package };
            Kernel::find(work).ok_or(missing)?
        }
    };
    let mut busybox = None;
    for place in places() {
        if busybox.is_none() {
            busybox = static_busybox(place, cancel).await;
        }
    }
    let busybox = match busybox {
        Some(busybox) => busybox,
        None => {
            fetch("busybox-static", work, cancel).await?;
            let package = "busybox-static".to_owned();
            static_busybox(work, cancel)
                .await
                .ok_or(BuildError::Missing { what: "static busybox", package })?
        }
    };
    progress("unpack the kernel", 1);
    let kernel_file = work.join(KERNEL);
    let (kernel, modules) = {
        let to = kernel_file.clone();
        let work = move || {
            let plain = kernel.plain()?;
            std::fs::write(&to, plain).map_err(fail("write", &to))?;
            let modules = kernel.modules()?;
            Ok::<_, BuildError>((kernel, modules))
        };
        off_thread(work).await??
    };
    if cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    progress("root file system", 2);
    let mut tree = Tree::default();
    root(&mut tree, &kernel.version);
    for (number, (name, bytes)) in modules.into_iter().enumerate() {
        tree.file(&format!("/lib/modules/load/{number:03}-{name}"), bytes, 0o644);
    }
    let mut bytes = std::fs::read(&busybox.0).map_err(fail("read", &busybox.0))?;
    if rename_wget(&mut bytes) {
        tree.file("/bin/wget", include_str!("wget.sh").into(), 0o755);
    }
    tree.file("/bin/busybox", bytes, 0o755);
    for applet in &busybox.1 {
        if !tree.has(&format!("/bin/{applet}")) && applet != "busybox" {
            tree.link(&format!("/bin/{applet}"), "busybox");
        }
    }
    if let Some(agent) = &spec.agent {
        program(&mut tree, agent, "/usr/bin/vnode-agent", work, cancel).await?;
    }
    progress("write the image", 3);
    let initrd_file = work.join(INITRD);
    let to = initrd_file.clone();
    off_thread(move || {
        let file = std::fs::File::create(&to).map_err(fail("make", &to))?;
        tree.write(std::io::BufWriter::new(&file)).map_err(fail("write", &to))?;
        file.sync_all().map_err(fail("write", &to))
    })
    .await??;
    if cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    for (file, name) in [(kernel_file, KERNEL), (initrd_file, INITRD)] {
        let to = spec.folder.join(name);
        std::fs::rename(&file, &to).map_err(fail("replace", &to))?;
    }
    progress("done", STEPS);
    Ok(())
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| BuildError::Program {
        program: "vnode image build".to_owned(),
        text: error.to_string(),
    })
}

fn clear(folder: &Path) -> Result<(), BuildError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fail("remove", folder)(e)),
        _ => Ok(()),
    }
}

/// Runs a program and gives what it prints.
async fn ask(spec: Spec, cancel: &CancellationToken) -> Result<String, BuildError> {
    let output = vnode_action::run(spec.env("LC_ALL", "C").capture(1 << 20), cancel).await?;
    if output.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BuildError::Program {
        program: "apt or dpkg".to_owned(),
        text: text.lines().last().unwrap_or("no reason is given").to_owned(),
    })
}

/// The package that `linux-image-amd64` stands for.
async fn kernel_package(cancel: &CancellationToken) -> Result<String, BuildError> {
    let asked = Spec::new(["apt-cache", "depends", "--important", "linux-image-amd64"]);
    let text = ask(asked.time_limit(SOON), cancel).await?;
    let found = text.lines().find_map(|line| {
        line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
    });
    found.map(str::to_owned).ok_or_else(|| BuildError::Missing {
        what: "kernel",
        package: "linux-image-amd64".to_owned(),
    })
}

/// Fetches one package and unpacks it in `work`.
async fn fetch(package: &str, work: &Path, cancel: &CancellationToken) -> Result<(), BuildError> {
    let asked =
        Spec::new(["apt-get", "--quiet", "download", package]).folder(work).time_limit(DOWNLOAD);
    ask(asked, cancel).await?;
    let entries = std::fs::read_dir(work).map_err(fail("list", work))?;
    for entry in entries {
        let path = entry.map_err(fail("list", work))?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            let unpack = Spec::new(["dpkg-deb", "--extract"]).arg(&path).arg(work);
            ask(unpack.time_limit(DOWNLOAD), cancel).await?;
            std::fs::remove_file(&path).map_err(fail("remove", &path))?;
        }
    }
    Ok(())
}

/// An unpacked kernel package has no list of what its modules need.
async fn depmod(work: &Path, cancel: &CancellationToken) -> Result<(), BuildError> {
    let Some(kernel) = Kernel::find(work) else { return Ok(()) };
    let asked = Spec::new(["depmod", "--basedir"]).arg(work).arg(&kernel.version);
    ask(asked.time_limit(SOON), cancel).await.map(drop)
}

/// A busybox without shared libraries below `top`, and its applets.
async fn static_busybox(top: &Path, cancel: &CancellationToken) -> Option<(PathBuf, Vec<String>)> {
    for name in ["bin/busybox", "usr/bin/busybox"] {
        let path = top.join(name);
        if !path.exists() || !libraries(&path, cancel).await.is_ok_and(|found| found.is_empty()) {
            continue;
        }
        let text = ask(Spec::new([path.as_os_str()]).arg("--list").time_limit(SOON), cancel).await;
        if let Ok(text) = text {
            return Some((path, text.lines().map(str::to_owned).collect()));
        }
    }
    None
}

/// Gives busybox' `wget` another name in its sorted list of names, where it stays in order; false: there is no such list.
fn rename_wget(busybox: &mut [u8]) -> bool {
    const NAME: &[u8] = b"\0wget\0";
    const OTHER: &[u8] = b"\0wgeT\0";
    let mut found =
        (0..busybox.len().saturating_sub(5)).filter(|&at| busybox[at..].starts_with(NAME));
    let (Some(at), None) = (found.next(), found.next()) else { return false };
    busybox[at..at + OTHER.len()].copy_from_slice(OTHER);
    true
}

/// Shared libraries of a program of the host, the loader among them.
async fn libraries(program: &Path, cancel: &CancellationToken) -> Result<Vec<PathBuf>, BuildError> {
    let asked = Spec::new(["ldd"]).arg(program).capture(1 << 16).time_limit(SOON);
    let output = vnode_action::run(asked, cancel).await?;
    // `ldd` fails for static programs and says so.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |line: &str| {
        let after = line.split_once("=>").map_or(line, |(_, right)| right);
        after.split_whitespace().next().filter(|p| p.starts_with('/')).map(PathBuf::from)
    };
    Ok(text.lines().filter_map(path).collect())
}

/// Puts a program in, with the shared libraries it names where they are found.
async fn program(
    tree: &mut Tree,
    from: &Path,
    to: &str,
    work: &Path,
    cancel: &CancellationToken,
) -> Result<(), BuildError> {
    // Without what only a debugger reads, where `strip` is installed: all of it would lie in the machine's memory.
    let small = work.join("stripped");
    let strip = Spec::new(["strip", "--strip-all", "-o"]).arg(&small).arg(from);
    let stripped = vnode_action::run(strip.time_limit(SOON), cancel).await;
    let plain = !stripped.is_ok_and(|output| output.success());
    let read = if plain { from } else { &small };
    let bytes = std::fs::read(read).map_err(fail("read", read))?;
    tree.file(to, bytes, 0o755);
    for library in libraries(from, cancel).await? {
        let name = library.to_string_lossy().into_owned();
        if !tree.has(&name) {
            let bytes = std::fs::read(&library).map_err(fail("read", &library))?;
            tree.file(&name, bytes, 0o755);
        }
    }
    Ok(())
}

/// Everything of the root that is ours.
fn root(tree: &mut Tree, version: &str) {
    for folder in [
        "/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/mnt", "/var/lib", "/var/log",
        "/var/tmp", "/sbin",
    ] {
        tree.folder(folder);
    }
    // The kernel gives the first process this as its standard streams; devtmpfs covers it later.
    tree.character_device("/dev/console", 0o600, 5, 1);
    tree.link("/init", "bin/busybox");
    tree.link("/sbin/init", "../bin/busybox");
    let mut text = |path: &str, text: &str, mode| tree.file(path, text.into(), mode);
    text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644);
    text("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
    text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644);
    let release = format!("ID=vnode\nNAME=\"vnode test machine\"\nVERSION_ID=\"{version}\"\n");
    text("/etc/os-release", &release, 0o644);
    // QEMU has no XenStore; the agent would say so on the console.
    let agent = "[log]\nlevel = \"warn\"\n\n[[channel]]\nname = \"xen\"\nenabled = false\n";
    text("/etc/vnode/agent.toml", agent, 0o644);
    text("/etc/inittab", include_str!("inittab"), 0o644);
    text("/etc/rc", include_str!("rc.sh"), 0o755);
    text("/etc/agent", include_str!("agent.sh"), 0o755);
    text("/etc/acpi/PWRF/00000080", "#!/bin/sh\nexec poweroff\n", 0o755);
}
