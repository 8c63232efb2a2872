//! What a script finds: its environment, its parameters, its working copy; and what it leaves as values.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::{fs::OFlags, process::Signal};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vnode_vnfpkg::{Descriptor, Event, Runs, runs};

use crate::{
    confine::confinement,
    core::Core,
    error::{Failure, Result},
    log::RunLog,
    model::{Instance, Occurrence},
    onboard::blocking,
    runs::{Begun, Known, RunFile},
    script::{self, Outcome, Script},
    user,
};

/// One run of one script.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Which<'a> {
    pub(crate) op: &'a Occurrence,
    pub(crate) instance: &'a Instance,
    pub(crate) revision: u32,
    pub(crate) event: Event,
    pub(crate) index: usize,
    pub(crate) attempt: u32,
}

/// In what way it is run.
#[derive(Debug)]
pub(crate) enum How {
    /// On record: a next life takes it up.
    Recorded(Box<Begun>),
    /// A check, which is no operation.
    Unrecorded,
    /// An earlier life has begun it.
    Left(Known),
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of values that a script may leave.
const OUTPUT: u64 = 64 << 10;

/// The variables that name one run of one script and nothing else.
pub(crate) fn marks(op: &str, event: Event, index: usize, attempt: u32) -> Vec<String> {
    vec![
        format!("VNF_OP_ID={op}"),
        format!("VNF_EVENT={}", event.text()),
        format!("VNF_SCRIPT_INDEX={index}"),
        format!("VNF_ATTEMPT={attempt}"),
    ]
}

/// Kills what is left of an attempt that is repeated, or given up: no script runs beside itself.
pub(crate) async fn kill_attempt(op: &str, event: Event, index: usize, attempt: u32) -> Result<()> {
    let marks = marks(op, event, index, attempt);
    blocking(move || script::kill_marked(&marks, Signal::KILL)).await
}

/// Values that must not be shown.
pub(crate) fn secrets(descriptor: &Descriptor, values: &BTreeMap<String, String>) -> Vec<String> {
    let secret = descriptor.parameters.iter().filter(|(_, parameter)| parameter.secret);
    secret
        .filter_map(|(name, _)| values.get(name).cloned())
        .filter(|value| !value.is_empty())
        .collect()
}

/// `value` as one word of a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Writes a new file in place of what is there: that may be a link of the script's user to a file of another's.
fn write_private(path: &Path, text: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(text.as_bytes())
}

/// Makes the file for a script's values; the one that the operation's last script left empty will do.
fn prepare_output(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let wanted = owner.unwrap_or_else(|| {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    });
    let will_do = std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_file()
            && (found.len(), found.nlink(), found.mode() & 0o7777) == (0, 1, 0o600)
            && (found.uid(), found.gid()) == wanted
    });
    if will_do { Ok(()) } else { write_private(path, "", owner) }
}

impl Core {
    /// What other functions provide, as `TYPE_key`.
    fn provided(&self, descriptor: &Descriptor) -> BTreeMap<String, String> {
        let tables = self.tables();
        let mut found = BTreeMap::new();
        for (wanted, require) in &descriptor.requires {
            for other in tables.instances.values() {
                let package = tables.packages.get(&(other.package.clone(), other.revision));
                let Some(package) = package else { continue };
                if package.name != *wanted && package.descriptor.kind.as_ref() != Some(wanted) {
                    continue;
                }
                let values = other.outputs.iter().chain(&other.parameters);
                for (key, value) in values {
                    let secret = package
                        .descriptor
                        .parameters
                        .get(key)
                        .is_some_and(|parameter| parameter.secret);
                    if !secret
                        && (require.parameters.is_empty() || require.parameters.contains(key))
                    {
                        let name = format!("{wanted}_{key}").replace('-', "_");
                        found.entry(name).or_insert_with(|| value.clone());
                    }
                }
            }
        }
        found
    }

    /// Writes `params.json` and `params.sh` into a working copy.
    pub(crate) fn write_parameters(&self, instance: &Instance, revision: u32) -> Result<()> {
        let descriptor = self.descriptor(&instance.package, revision)?;
        let folder = self.paths.work(&instance.id, revision);
        let owner = self.user(&descriptor, None)?.map(|user| (user.uid, user.gid));
        let mut all = self.provided(&descriptor);
        all.extend(instance.parameters.clone());
        let shell: String =
            all.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        let written =
            write_private(&folder.join("params.json"), &(json!(all).to_string() + "\n"), owner)
                .and_then(|()| write_private(&folder.join("params.sh"), &shell, owner));
        written.map_err(|error| Failure::internal("write the parameters", &error))
    }

    /// The environment of a script: nothing of ours.
    fn environment(
        &self,
        op: &Occurrence,
        instance: &Instance,
        descriptor: &Descriptor,
        user: &user::User,
    ) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = vec![
            ("PATH".into(), PATH.into()),
            ("HOME".into(), user.home.clone()),
            ("USER".into(), user.name.clone()),
            ("LANG".into(), "C.UTF-8".into()),
        ];
        all.extend(descriptor.environment.clone());
        for (name, value) in &instance.parameters {
            all.push((format!("VNF_PARAM_{name}"), value.clone()));
            if descriptor.plain_parameters {
                all.push((name.clone(), value.clone()));
            }
        }
        all.extend(self.provided(descriptor));
        all.push(("VNF_NAME".into(), instance.name.clone()));
        all.push((
            "VNF_PROCESS".into(),
            descriptor.process.as_ref().map_or_else(String::new, |p| p.name.clone()),
        ));
        all.push(("VNF_INSTANCE_ID".into(), instance.id.clone()));
        all.push(("VNF_CAUSE".into(), op.cause.clone()));
        all.extend(op.variables.clone());
        all
    }

    /// Runs one script of an event once, from the working copy of a revision; or goes on with it.
    pub(crate) async fn run_script(
        self: &Arc<Self>,
        which: &Which<'_>,
        how: How,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let Which { op, instance, revision, event, index, attempt } = *which;
        let _busy = self.busy.enter();
        let descriptor = self.descriptor(&instance.package, revision)?;
        let scripts = descriptor.scripts(event);
        let declared =
            scripts.get(index).ok_or_else(|| Failure::not_found("the script is gone"))?;
        let keep = descriptor.events.get(&event).is_some_and(|hook| hook.keep_background);
        let other = self.user(&descriptor, declared.user.as_deref())?;
        let user = other.clone().unwrap_or_else(user::own);
        let folder = self.paths.work(&instance.id, revision);
        let path = folder.join(&declared.path);
        let argv = argv(&path, &declared.args)?;
        let version = |revision: u32| {
            let tables = self.tables();
            let package = tables.packages.get(&(instance.package.clone(), revision));
            package.map_or_else(String::new, |package| package.version.clone())
        };
        let output = self.paths.values(&instance.id, &op.id);
        let failed = |error: io::Error| Failure::internal("prepare a script", &error);
        if !matches!(how, How::Left(_)) {
            self.paths.prepare_runs(&instance.id).map_err(failed)?;
            prepare_output(&output, other.as_ref().map(|user| (user.uid, user.gid)))
                .map_err(failed)?;
        }
        let mut environment = self.environment(op, instance, &descriptor, &user);
        let marks = marks(&op.id, event, index, attempt);
        for mark in &marks {
            if let Some((name, value)) = mark.split_once('=') {
                environment.push((name.to_owned(), value.to_owned()));
            }
        }
        let content = self.paths.content(&instance.package, revision);
        for (name, value) in [
            ("VNF_VERSION", version(revision)),
            (
                "VNF_PREVIOUS_VERSION",
                if revision == instance.revision {
                    String::new()
                } else {
                    version(instance.revision)
                },
            ),
            ("VNF_PACKAGE_DIR", content.display().to_string()),
            ("VNF_WORK_DIR", folder.display().to_string()),
            ("VNF_SCRIPT_COUNT", scripts.len().to_string()),
            ("VNF_OUTPUT_FILE", output.display().to_string()),
        ] {
            environment.push((name.to_owned(), value));
        }
        let secret = if self.settings.log_secrets {
            Vec::new()
        } else {
            secrets(&descriptor, &instance.parameters)
        };
        let look = self.logged.begins(&instance.id);
        let logs = self.paths.logs(&instance.id);
        let mut log = RunLog::open(&logs, &op.id, secret, look).map_err(failed)?;
        let script = Script {
            name: declared.path.clone(),
            argv,
            folder,
            environment,
            marks,
            user: other,
            limits: descriptor.limits.clone(),
            groups: self.keep_limits(&op.id, instance, &descriptor),
            confinement: confinement(&descriptor, &self.paths.instance(&instance.id))?,
            time_limit: Duration::from_secs(declared.timeout_s),
            keep,
        };
        let outcome = match how {
            How::Left(Known::Ended(outcome)) => {
                // That life may have ended before it killed what the script left.
                if script.leaves_nothing(&outcome) {
                    script::kill_marked(&script.marks, Signal::KILL);
                }
                Ok(outcome)
            }
            How::Left(known) => {
                let Known::Runs(process) = known else {
                    return Err(Failure::script(&op.id, "it never ran".to_owned(), "interrupted"));
                };
                let data = json!({
                    "event": event, "script": declared.path, "attempt": attempt, "pid": process.pid,
                });
                self.event("script.adopted", &instance.name, Some(&op.id), data);
                script::take_up(&script, process, &mut log, self.watcher.ours(), cancel).await
            }
            How::Recorded(_) | How::Unrecorded => {
                let data = json!({
                    "event": event, "script": declared.path, "attempt": attempt, "cause": op.cause,
                });
                self.event("script.started", &instance.name, Some(&op.id), data);
                let file = match how {
                    How::Recorded(mut begun) => {
                        begun.script = path;
                        Some(RunFile::begin(&self.paths, &instance.id, &begun).map_err(failed)?)
                    }
                    _ => None,
                };
                crate::onboard::point("vnf.run.begun")?;
                script::run(&script, &mut log, self.watcher.ours(), cancel, file).await
            }
        };
        self.logged.ended(&instance.id, &log);
        let values = read_output(&output);
        let outcome = outcome.map_err(|what| Failure::script(&op.id, what, "script-failed"))?;
        self.event("script.ended", &instance.name, Some(&op.id), json!({
            "event": event, "script": declared.path, "attempt": attempt, "exitCode": outcome.code,
            "signal": outcome.signal, "timedOut": outcome.timed_out,
        }));
        if !values.is_empty() {
            self.change_operation(&op.id, |op| op.outputs.extend(values));
        }
        Ok(outcome)
    }
}

/// What is to be started for a script.
fn argv(path: &Path, arguments: &[String]) -> Result<Vec<String>> {
    let gone = |error: io::Error| {
        Failure::internal(&format!("read the script `{}`", path.display()), &error)
    };
    let mut head = Vec::new();
    // The folder is the script's user's, who may have put a pipe there: it must not make us wait.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = File::options();
    let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(gone)?;
    if !file.metadata().map_err(gone)?.is_file() {
        return Err(gone(io::Error::other("it is no file")));
    }
    file.take(256).read_to_end(&mut head).map_err(gone)?;
    let full = path.display().to_string();
    let mut argv = match runs(&head)? {
        Runs::Shell => vec!["/bin/sh".to_owned(), full],
        Runs::Itself { interpreter } => {
            if let Some(interpreter) =
                interpreter.filter(|interpreter| !Path::new(interpreter).exists())
            {
                use vnode_vnfpkg::{Code, Problem};
                let what = format!("the interpreter {interpreter} is not on this machine");
                return Err(Problem::new(Code::ScriptInterpreter, what).entry(full).into());
            }
            vec![full]
        }
    };
    argv.extend(arguments.iter().cloned());
    Ok(argv)
}

/// The lines `key=value` of a script's output file.
fn read_output(path: &Path) -> BTreeMap<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(OUTPUT).read_to_string(&mut text));
    if read.is_err() {
        return BTreeMap::new();
    }
    let is_key = |key: &str| {
        (1..=64).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .filter(|(key, _)| is_key(key))
        .take(256)
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_values_is_kept_only_as_it_was_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("o.values"), folder.path().join("other"));
        let inode = || std::fs::metadata(&path).expect("it is there").ino();
        prepare_output(&path, None).expect("made");
        let first = inode();
        prepare_output(&path, None).expect("kept");
        assert_eq!(inode(), first);
        std::fs::write(&path, "key=of the script before").expect("written");
        prepare_output(&path, None).expect("made anew");
        assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 0);
        // Somebody has a name of his own for it, or may read it.
        std::fs::hard_link(&path, &other).expect("linked");
        prepare_output(&path, None).expect("made anew");
        assert_eq!(std::fs::metadata(&path).expect("it is there").nlink(), 1);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, open).expect("set");
        prepare_output(&path, None).expect("made anew");
        assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_of_the_scripts_user_is_replaced_and_what_it_names_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (other, path) = (folder.path().join("shadow"), folder.path().join("params.sh"));
        std::fs::write(&other, "kept").expect("written");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        write_private(&path, "a='b'\n", None).expect("written");
        assert_eq!(std::fs::read_to_string(&other).expect("read"), "kept");
        assert!(std::fs::symlink_metadata(&path).expect("there").is_file());
        write_private(&path, "c='d'\n", None).expect("written again");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "c='d'\n");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_script_makes_nobody_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("start.sh");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("made");
        assert!(argv(&path, &[]).expect_err("it is none").detail.contains("start.sh"));
    }
}
