//! Taking packages in, and giving them away.

use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use vnode_beneath::{Dir, Scope};
use vnode_operation::fault;
use vnode_store::Change;
use vnode_vnfpkg::{Code, Package as Archive, Problem, Refused, Trust};

use crate::{
    core::{Core, package_key, put},
    error::{Failure, Result},
    model::{Instance, Package},
    tree,
};

/// A sender may be silent for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// And take so long in all.
const WHOLE: Duration = Duration::from_secs(30 * 60);

/// What became of a package that was sent.
#[derive(Debug, Clone, Serialize)]
pub struct Onboarded {
    pub name: String,
    pub version: String,
    pub revision: u32,
    pub digest: String,
    /// It was here already.
    pub known: bool,
    pub warnings: Vec<String>,
}

/// A file in the staging folder, gone when it is dropped.
struct Staged {
    path: PathBuf,
    file: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The start sweeps what stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn storage(error: &std::io::Error) -> Failure {
    let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
    let what = if full { "the store is full" } else { "the store cannot be written" };
    Problem::new(Code::NoSpace, format!("{what} ({error})")).into()
}

/// Writes what a sender gives, who may be slow and must not be silent.
async fn copy_in(
    from: &mut (impl AsyncRead + Unpin),
    length: u64,
    mut into: impl Write,
) -> Result<()> {
    let received = async {
        let mut left = length;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = timeout(SILENCE, from.read(&mut buffer[..room])).await;
            let slow =
                || Problem::new(Code::Timeout, format!("nothing came for {} s", SILENCE.as_secs()));
            match read.map_err(|_| slow())? {
                Ok(0) | Err(_) => {
                    let what = format!("the sender went away, and {left} bytes are missing");
                    return Err(Failure::from(Problem::new(Code::Aborted, what)));
                }
                Ok(read) => {
                    into.write_all(&buffer[..read]).map_err(|error| storage(&error))?;
                    left -= read as u64;
                }
            }
        }
        Ok(())
    };
    timeout(WHOLE, received).await.map_err(|_| {
        Problem::new(Code::Timeout, format!("not there after {} s", WHOLE.as_secs()))
    })?
}

impl Core {
    fn stage(&self) -> Result<Staged> {
        let path = self.paths.staging().join(uuid::Uuid::now_v7().to_string());
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        Ok(Staged { file: file.map_err(|error| storage(&error))?, path })
    }

    /// Takes in a package of `length` bytes. Nothing of it is run.
    ///
    /// # Errors
    /// Why it is refused; then nothing is left of it.
    pub(crate) async fn receive(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        length: u64,
        uploader: &str,
    ) -> Result<Onboarded> {
        let most = self.settings.limits.archive_bytes;
        if length > most {
            let what = format!("{length} bytes, and an archive may have {most}");
            return Err(Problem::new(Code::Size, what).into());
        }
        let staged = self.stage()?;
        copy_in(from, length, &staged.file).await?;
        self.install(staged, uploader).await
    }

    async fn install(&self, staged: Staged, uploader: &str) -> Result<Onboarded> {
        let trust = self.trust()?;
        let limits = self.settings.limits.clone();
        let staging = self.paths.staging();
        let (staged, opened) = blocking(move || {
            let opened = Archive::open_in(&staged.file, &limits, &trust, &staging);
            (staged, opened)
        })
        .await?;
        let archive = opened.map_err(|refused| self.told(refused, uploader))?;
        self.policy(&archive).map_err(|problems| self.told(Refused { problems }, uploader))?;
        // Until it is stored, nobody else decides for a revision, and none is removed.
        let _onboarding = self.onboarding.lock().await;
        let decided = self.decide(&archive);
        let (version, revision) =
            match decided.map_err(|problem| self.told(problem.into(), uploader))? {
                Decided::Known(package) => {
                    return Ok(Onboarded {
                        name: package.name,
                        version: package.version,
                        revision: package.revision,
                        digest: package.digest,
                        known: true,
                        warnings: package.warnings,
                    });
                }
                Decided::New(version, revision) => (version, revision),
            };
        room_for(archive.files().map(|(_, size)| size).sum(), &self.paths.state)?;
        point("vnf.onboard.checked")?;
        let package = Package {
            name: archive.descriptor.name.clone(),
            version,
            revision,
            digest: archive.digest.clone(),
            tree_digest: archive.tree_digest.clone(),
            size: archive.size,
            received: Timestamp::now(),
            signature: archive.signature.clone(),
            warnings: self.warnings(&archive),
            descriptor: archive.descriptor.clone(),
        };
        let paths = self.paths.clone();
        let name = package.name.clone();
        blocking(move || {
            let folder = paths.staging().join(uuid::Uuid::now_v7().to_string());
            let written = write_out(&archive, &staged.file, &folder)
                .and_then(|()| put_in_place(&folder, &paths.package(&name), revision));
            if written.is_err() {
                // The start sweeps what stays.
                let _ = tree::remove(&folder);
            }
            written
        })
        .await??;
        point("vnf.onboard.placed")?;
        self.commit(vec![put(package_key(&package), &package)?]).await?;
        point("vnf.onboard.stored")?;
        let answer = Onboarded {
            name: package.name.clone(),
            version: package.version.clone(),
            revision,
            digest: package.digest.clone(),
            known: false,
            warnings: package.warnings.clone(),
        };
        self.tables().packages.insert((package.name.clone(), revision), package);
        self.event("package.onboarded", &answer.name, None, json!({ "version": answer.version, "revision": revision, "digest": answer.digest, "by": uploader }));
        self.drop_old(&answer.name).await?;
        Ok(answer)
    }

    fn told(&self, refused: Refused, uploader: &str) -> Failure {
        let code = refused.code().text();
        self.event("package.refused", "package", None, json!({ "code": code, "by": uploader }));
        refused.into()
    }

    fn trust(&self) -> Result<Trust> {
        let folder = self.settings.keys.clone().unwrap_or_else(|| self.paths.state.join("keys"));
        Ok(Trust::from_folder(self.settings.signatures, &folder)?)
    }

    /// What depends on this machine.
    fn policy(&self, archive: &Archive) -> Result<(), Vec<Problem>> {
        let descriptor = &archive.descriptor;
        let mut problems = Vec::new();
        let scripts = descriptor.events.values().flat_map(|hook| &hook.scripts);
        let users = scripts.filter_map(|script| script.user.as_deref()).map(Some);
        for user in users.chain([None]) {
            if let Err(problem) = self.user(descriptor, user) {
                problems.push(problem.pointer("/user"));
            }
        }
        if let Some(process) = &descriptor.process
            && let Err(what) = crate::watch::Rule::new(process)
        {
            problems.push(Problem::new(Code::Process, what).pointer("/process"));
        }
        let memory = rustix::system::sysinfo().totalram;
        if descriptor.limits.memory_max.is_some_and(|wanted| wanted > memory) {
            let what = format!("more memory than the machine has ({memory} bytes)");
            problems.push(Problem::new(Code::Limits, what).pointer("/limits/memory_max"));
        }
        if self.requires_itself(&descriptor.name, descriptor) {
            let what = "packages would require each other in a circle";
            problems.push(Problem::new(Code::Cycle, what).pointer("/requires"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn requires_itself(&self, name: &str, descriptor: &vnode_vnfpkg::Descriptor) -> bool {
        let tables = self.tables();
        let mut waiting: Vec<String> = descriptor.requires.keys().cloned().collect();
        let mut seen = Vec::new();
        while let Some(next) = waiting.pop() {
            if next == name || descriptor.kind.as_ref() == Some(&next) {
                return true;
            }
            if seen.contains(&next) {
                continue;
            }
            let further = tables
                .packages
                .values()
                .filter(|p| p.name == next || p.descriptor.kind.as_ref() == Some(&next));
            waiting.extend(further.flat_map(|package| package.descriptor.requires.keys().cloned()));
            seen.push(next);
        }
        false
    }

    fn warnings(&self, archive: &Archive) -> Vec<String> {
        let mut warnings = archive.warnings.clone();
        let tables = self.tables();
        let process = archive.descriptor.process.as_ref();
        let other = tables.packages.values().find(|package| {
            package.name != archive.descriptor.name
                && process.is_some()
                && package.descriptor.process.as_ref().map(|p| &p.name) == process.map(|p| &p.name)
        });
        if let Some(other) = other {
            warnings.push(format!(
                "same-process: {} watches this process too; both will react",
                other.name
            ));
        }
        warnings
    }

    /// 1.11 of the specification.
    fn decide(&self, archive: &Archive) -> Result<Decided, Problem> {
        let tables = self.tables();
        let name = &archive.descriptor.name;
        let of_name: Vec<&Package> =
            tables.packages.values().filter(|package| package.name == *name).collect();
        if let Some(known) = of_name.iter().find(|package| package.digest == archive.digest) {
            return Ok(Decided::Known(Box::new((*known).clone())));
        }
        let busy = tables.instances.values().any(|instance| {
            let running = instance.operation.as_ref().and_then(|id| tables.operations.get(id));
            instance.package == *name
                && running.is_some_and(|op| op.state != crate::model::State::FailedTemp)
        });
        if busy {
            return Err(Problem::new(
                Code::Busy,
                format!("an operation of {name} runs; try again when it has ended"),
            ));
        }
        let revision = of_name.iter().map(|package| package.revision).max().unwrap_or(0) + 1;
        let Some(version) = &archive.descriptor.version else {
            return Ok(Decided::New(format!("0.0.0+r{revision}"), revision));
        };
        if of_name.iter().any(|package| package.version == *version) {
            let what = format!(
                "{name} {version} is here with other content; give the package another version"
            );
            return Err(Problem::new(Code::Exists, what));
        }
        let parse = |text: &str| semver::Version::parse(text).ok();
        let highest = of_name.iter().filter_map(|package| parse(&package.version)).max();
        if !self.settings.allow_downgrade && highest > parse(version) {
            let what = format!("{name} is here in a higher version than {version}");
            return Err(Problem::new(Code::Version, what));
        }
        Ok(Decided::New(version.clone(), revision))
    }

    /// Removes revisions beyond those that are to be kept and used by nobody.
    async fn drop_old(&self, name: &str) -> Result<()> {
        let old: Vec<u32> = {
            let tables = self.tables();
            let mut revisions: Vec<&Package> =
                tables.packages.values().filter(|p| p.name == name).collect();
            revisions.sort_by_key(|package| std::cmp::Reverse(package.revision));
            let keep =
                revisions.first().map_or(3, |newest| newest.descriptor.keep_revisions) as usize;
            let used = |revision| uses(tables.instances.values(), name, revision);
            revisions
                .iter()
                .skip(keep + 1)
                .map(|p| p.revision)
                .filter(|revision| !used(*revision))
                .collect()
        };
        for revision in old {
            self.remove_revision(name, revision).await?;
        }
        Ok(())
    }

    async fn remove_revision(&self, name: &str, revision: u32) -> Result<()> {
        let Some(package) = self.tables().packages.remove(&(name.to_owned(), revision)) else {
            return Ok(());
        };
        self.commit(vec![Change::delete(package_key(&package))]).await?;
        let folder = self.paths.package(name).join(revision.to_string());
        blocking(move || tree::remove(&folder)).await?.map_err(|error| storage(&error))
    }

    /// Removes all revisions of a package.
    ///
    /// # Errors
    /// When an instance uses it, or there is none.
    pub(crate) async fn remove_package(&self, name: &str) -> Result<()> {
        let _onboarding = self.onboarding.lock().await;
        let revisions: Vec<u32> = {
            let tables = self.tables();
            if let Some(user) = tables.instances.values().find(|instance| instance.package == name)
            {
                let what = format!(
                    "the instance {} uses the package {name}; terminate and remove it first",
                    user.name
                );
                return Err(Problem::new(Code::InUse, what).into());
            }
            tables
                .packages
                .keys()
                .filter(|(other, _)| other == name)
                .map(|(_, revision)| *revision)
                .collect()
        };
        if revisions.is_empty() {
            return Err(Failure::not_found(format!(
                "there is no package `{}`",
                name.escape_debug()
            )));
        }
        for revision in revisions {
            self.remove_revision(name, revision).await?;
        }
        self.event("package.removed", name, None, json!({}));
        Ok(())
    }
}

pub(crate) fn uses<'a>(
    mut instances: impl Iterator<Item = &'a Instance>,
    name: &str,
    revision: u32,
) -> bool {
    instances.any(|instance| instance.package == name && instance.revision == revision)
}

enum Decided {
    Known(Box<Package>),
    New(String, u32),
}

fn write_out(archive: &Archive, file: &File, folder: &std::path::Path) -> Result<()> {
    let io = |error: std::io::Error| storage(&error);
    std::fs::create_dir(folder).map_err(io)?;
    let content = folder.join("content");
    std::fs::create_dir(&content).map_err(io)?;
    let into = Dir::open_ambient(&content, Scope::Beneath)
        .map_err(|error| Failure::internal("open the staging folder", &error))?;
    archive.unpack(file, &into)?;
    Ok(())
}

fn put_in_place(folder: &std::path::Path, package: &std::path::Path, revision: u32) -> Result<()> {
    let io = |error: std::io::Error| storage(&error);
    std::fs::create_dir_all(package).map_err(io)?;
    let target = package.join(revision.to_string());
    // What a crash left there was never stored.
    tree::remove(&target).map_err(io)?;
    std::fs::rename(folder, &target).map_err(io)?;
    File::open(package).and_then(|folder| folder.sync_all()).map_err(io)
}

/// Passes a fault point.
pub(crate) fn point(name: &str) -> Result<()> {
    fault::point(name).map_err(|error| Failure::internal("go on", &error))
}

/// Does what blocks elsewhere.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::internal("finish", &error))
}

/// Whether a file system has room for `bytes` more, and a twentieth, at most 256 MiB, after that.
fn room_for(bytes: u64, state: &std::path::Path) -> Result<()> {
    let room = rustix::fs::statvfs(state).map_err(|error| storage(&error.into()))?;
    let keep = (room.f_blocks / 20 * room.f_frsize).min(256 << 20);
    let free = (room.f_bavail * room.f_frsize).saturating_sub(keep);
    if bytes > free {
        let what = format!("it unpacks to {bytes} bytes, and the store has room for {free}");
        return Err(Problem::new(Code::NoSpace, what).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What becomes of `length` bytes of which `piece` come at a time, with a pause after each. The clock is tokio's, and
    /// goes on by itself when all wait.
    async fn sent(length: u64, piece: usize, pause: Duration) -> Result<()> {
        let (mut to, mut from) = tokio::io::duplex(64 << 10);
        let sender = tokio::spawn(async move {
            let bytes = vec![0; piece];
            // Whoever takes it may have given up.
            while to.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let done = copy_in(&mut from, length, std::io::sink()).await;
        drop(from);
        sender.await.expect("it ends");
        done
    }

    #[tokio::test(start_paused = true)]
    async fn pk_26_a_slow_sender_with_pauses_is_waited_for() {
        // 200 MiB, with 50 pauses: slower than the case wants it.
        sent(200 << 20, 4 << 20, Duration::from_secs(20)).await.expect("in time");
    }

    #[tokio::test(start_paused = true)]
    async fn bx_78_who_is_silent_or_never_ends_is_sent_away() {
        for (pause, text) in [(31, "nothing came for 30 s"), (10, "not there after 1800 s")] {
            let failure = sent(4096, 1, Duration::from_secs(pause)).await.expect_err("too slow");
            assert_eq!((failure.status, failure.code.as_str()), (408, "E-TIMEOUT"));
            assert!(failure.detail.contains(text), "{}", failure.detail);
        }
        sent(60, 1, Duration::from_secs(29)).await.expect("slow, and not silent");
    }
}
