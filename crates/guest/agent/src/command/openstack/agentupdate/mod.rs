//! `agentupdate`: another version of this agent, from the host. Off unless it is allowed by name, and even then only
//! what is signed by the key of the settings is taken.
//!
//! The answer comes first; what replaces the agent follows it, in a process of its own ([`finish`]), which puts the
//! old version back when the new one does not come up.

use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use md5::Digest as _;
use serde::Deserialize;
use serde_json::Value;
use vnode_action::{CancellationToken, Session, Spec};
use vnode_beneath::{Dir, Limits, Mode, Scope};

use crate::{
    command::{Command, CommandError, Form},
    context::{Context, Resource},
};

mod fetch;
#[cfg(test)]
mod tests;

/// All of the work before the answer: clients wait 30 s.
const TIME: Duration = Duration::from_secs(25);
/// How long a new version has to say that it serves.
const READY: Duration = Duration::from_secs(30);
const SIGNATURE_MAX: u64 = 4 << 10;
const PROGRAM: &str = "vnode-agent";
/// The word of the command line that runs [`finish`].
pub const FINISH: &str = "finish-update";

/// The table `[command.agentupdate]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The minisign public key, the one line of letters. Without it nothing is taken.
    key: Option<String>,
    /// Where `file:` URLs may lead. Without it they may lead nowhere.
    local: Option<PathBuf>,
    /// Certificates that servers are checked by, instead of the system's.
    certificates: Option<PathBuf>,
    /// Largest archive, bytes.
    max_bytes: u64,
    /// Where archives are unpacked.
    folder: PathBuf,
    /// The program that is replaced, instead of the running one.
    binary: Option<PathBuf>,
    /// The program that restarts the agent, and returns when it serves; instead of the service manager's.
    restart: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: None,
            local: None,
            certificates: None,
            max_bytes: 64 << 20,
            folder: "/var/lib/vnode-agent/update".into(),
            binary: None,
            restart: None,
        }
    }
}

/// Replaces the agent.
#[derive(Debug)]
pub(super) struct AgentUpdate;

impl Command for AgentUpdate {
    fn name(&self) -> &str {
        "agentupdate"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn on_by_default(&self) -> bool {
        false
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Files)
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let wanted = Wanted::read(&value)?;
            let settings: Settings = context.options("agentupdate")?;
            let prepared = tokio::time::timeout(TIME, prepare(context, &settings, &wanted)).await;
            let plan =
                prepared.map_err(|_| CommandError::failed("The update takes too long"))??;
            context.after_reply(async move {
                if let Err(error) = vnode_action::spawn_detached(plan.spec()) {
                    tracing::error!(error = &error as &dyn std::error::Error, "no update");
                }
            });
            Ok(Value::from(""))
        }
        .boxed()
    }
}

/// What the client asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: String,
    md5: String,
    /// The last component of the URL.
    name: String,
}

impl Wanted {
    fn read(value: &Value) -> Result<Self, CommandError> {
        let (url, md5) = match value {
            Value::String(text) => text
                .split_once(',')
                .ok_or_else(|| CommandError::invalid("need more than 1 value to unpack"))?,
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                text("url").zip(text("md5sum")).ok_or_else(|| {
                    CommandError::invalid("Missing URL or MD5 sum in dictionary arguments")
                })?
            }
            _ => return Err(CommandError::invalid("Invalid arguments")),
        };
        let invalid = || CommandError::invalid("Invalid URL");
        let (_, name) = url.rsplit_once('/').ok_or_else(invalid)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+~".contains(&b);
        if !name.contains('.') || name.len() > 128 || !name.bytes().all(plain) {
            return Err(invalid());
        }
        Ok(Self { url: url.to_owned(), md5: md5.trim().to_owned(), name: name.to_owned() })
    }
}

/// What is done after the answer.
#[derive(Debug)]
struct Plan {
    /// Runs [`finish`] outside of the agent's own service.
    launcher: Vec<OsString>,
    agent: PathBuf,
    new: PathBuf,
    binary: PathBuf,
    restart: Vec<String>,
}

impl Plan {
    fn spec(&self) -> Spec {
        let mut argv = self.launcher.clone();
        argv.extend([self.agent.as_os_str(), FINISH.as_ref()].map(OsString::from));
        argv.extend([self.new.as_os_str(), self.binary.as_os_str()].map(OsString::from));
        argv.extend(self.restart.iter().map(OsString::from));
        Spec::new(argv)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .folder("/")
            .session(Session::NewSession)
    }
}

async fn prepare(
    context: &Context,
    settings: &Settings,
    wanted: &Wanted,
) -> Result<Plan, CommandError> {
    let restart = restart_program(context, settings)?;
    let folder = context.root_path().join(relative(&settings.folder));
    let fresh = || -> std::io::Result<()> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(folder.join("tree"))
    };
    let failed = |error: std::io::Error| {
        CommandError::failed(format!("Cannot unpack into {}", folder.display())).with_source(error)
    };
    fresh().map_err(failed)?;
    let archive = folder.join(&wanted.name);
    let signature = folder.join("signature");
    let source = fetch::Source::new(context, settings);
    source.fetch(&wanted.url, &archive, settings.max_bytes).await?;
    check_sum(&archive, &wanted.md5).map_err(|error| match error {
        Sum::Io(error) => failed(error),
        Sum::Differs(text) => CommandError::failed(text),
    })?;
    let signed = format!("{}.minisig", wanted.url);
    let unsigned = || CommandError::failed("Signature check failed");
    source
        .fetch(&signed, &signature, SIGNATURE_MAX)
        .await
        .map_err(|error| unsigned().with_source(error))?;
    check_signature(settings.key.as_deref(), &archive, &signature)
        .map_err(|error| unsigned().with_source(error))?;
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        CommandError::failed(format!("{}: {error}", archive.display())).with_source(error)
    };
    let tree = folder.join("tree");
    unpack(&archive, &tree).map_err(broken)?;
    let new = find_program(&tree)
        .ok_or_else(|| broken(format!("there is no `{PROGRAM}` in it").into()))?;
    let version =
        Spec::new([new.as_os_str(), "--version".as_ref()]).time_limit(Duration::from_secs(5));
    match context.run(version).await {
        Ok(output) if output.success() => {}
        Ok(output) => {
            let text = format!("Agent installer script failed: {}", output.status);
            return Err(CommandError::failed(text));
        }
        Err(error) => {
            let text = "Agent installer script failed: it does not start";
            return Err(CommandError::failed(text).with_source(error));
        }
    }
    let running = || std::env::current_exe().map_err(failed);
    let binary = match &settings.binary {
        Some(binary) => context.root_path().join(relative(binary)),
        None => running()?,
    };
    let launcher = launcher(context);
    Ok(Plan { launcher, agent: running()?, new, binary, restart })
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The service manager ends all processes of the agent's service at its restart, so what watches the restart must
/// not be one of them.
fn launcher(context: &Context) -> Vec<OsString> {
    if is_systemd(context) {
        ["systemd-run", "--quiet", "--collect", "--unit=vnode-agent-update"]
            .map(OsString::from)
            .into()
    } else {
        Vec::new()
    }
}

fn is_systemd(context: &Context) -> bool {
    context.root().stat("run/systemd/system").is_ok()
}

fn restart_program(context: &Context, settings: &Settings) -> Result<Vec<String>, CommandError> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    if let Some(restart) = &settings.restart {
        return Ok(restart.clone());
    }
    let there = |path: &str| context.root().stat(path).is_ok();
    if is_systemd(context) {
        // Returns when the new one has said that it is ready.
        return Ok(words(&["systemctl", "restart", "vnode-agent.service"]));
    }
    for script in
        ["etc/init.d/vnode-agent", "usr/local/etc/rc.d/vnode_agent", "etc/rc.d/vnode-agent"]
    {
        if there(script) {
            return Ok(words(&[&format!("/{script}"), "restart"]));
        }
    }
    Err(CommandError::failed("No init script found to restart").with_code("404"))
}

enum Sum {
    Io(std::io::Error),
    Differs(String),
}

fn check_sum(archive: &Path, given: &str) -> Result<(), Sum> {
    let mut digest = md5::Md5::new();
    each_piece(archive, |piece| digest.update(piece)).map_err(Sum::Io)?;
    let actual: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if actual.eq_ignore_ascii_case(given) {
        return Ok(());
    }
    Err(Sum::Differs(format!("MD5 sums do not match ({given} != {actual})")))
}

fn each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

/// A minisign signature over the whole archive, of the prehashed kind (its default).
fn check_signature(
    key: Option<&str>,
    archive: &Path,
    signature: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = key.ok_or("the settings name no key")?;
    let key = minisign_verify::PublicKey::from_base64(key)?;
    let signature = minisign_verify::Signature::decode(&std::fs::read_to_string(signature)?)?;
    let mut check = key.verify_stream(&signature)?;
    each_piece(archive, |piece| check.update(piece))?;
    Ok(check.finalize()?)
}

fn unpack(archive: &Path, tree: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let dir = Dir::open_ambient(tree, Scope::Beneath)?;
    let limits = Limits { bytes: 256 << 20, entries: 1000, depth: 16, ..Limits::default() };
    vnode_beneath::unpack(File::open(archive)?, &dir, &limits, Mode::Files, &|| false)?;
    Ok(())
}

/// At the top or one folder down, as the original's installer.
fn find_program(tree: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.symlink_metadata().is_ok_and(|m| m.is_file());
    let top = tree.join(PROGRAM);
    if is_program(&top) {
        return Some(top);
    }
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(tree).ok()?.flatten().map(|entry| entry.path().join(PROGRAM)).collect();
    folders.sort();
    folders.into_iter().find(is_program)
}

/// Puts the new program in the old one's place and restarts the agent; when that fails, puts the old one back and
/// restarts that.
///
/// # Errors
/// When the new version is not in place and serving at the end.
pub async fn finish(new: &Path, binary: &Path, restart: &[String]) -> Result<(), String> {
    let old = with_ending(binary, ".old");
    let staged = with_ending(binary, ".new");
    let swap = || -> std::io::Result<()> {
        // Beside its place first: the archive may have been unpacked on another file system.
        std::fs::copy(new, &staged)?;
        let permissions = std::fs::metadata(binary)?.permissions();
        std::fs::set_permissions(&staged, permissions)?;
        File::open(&staged)?.sync_all()?;
        match std::fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::hard_link(binary, &old)?;
        std::fs::rename(&staged, binary)
    };
    swap().map_err(|error| format!("{} cannot be replaced: {error}", binary.display()))?;
    let Err(why) = restarted(restart).await else { return Ok(()) };
    std::fs::rename(&old, binary)
        .map_err(|error| format!("{why}; and the old version cannot be put back: {error}"))?;
    match restarted(restart).await {
        Ok(()) => Err(format!("{why}; the old version is back")),
        Err(again) => Err(format!("{why}; the old version is back, and does not start: {again}")),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

async fn restarted(restart: &[String]) -> Result<(), String> {
    let spec = Spec::new(restart).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").time_limit(READY);
    match vnode_action::run(spec, &CancellationToken::new()).await {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => Err(format!("Couldn't restart the agent: {}", output.status)),
        Err(error) => Err(format!("Couldn't restart the agent: {error}")),
    }
}
