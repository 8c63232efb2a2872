//! What a package's `security` takes from its scripts and its process. What cannot be taken here lets nothing run.

use std::path::{Path, PathBuf};

use vnode_action::Confinement;
use vnode_raw::capability;
use vnode_vnfpkg::Descriptor;

use crate::error::{Failure, Result};

/// Folders that a program may have of its own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What is taken from programs of an instance, whose folder stays theirs to write.
///
/// # Errors
/// 422 with the member of `security` that this machine, or this agent, cannot do.
pub(crate) fn confinement(descriptor: &Descriptor, folder: &Path) -> Result<Option<Confinement>> {
    let Some(security) = &descriptor.security else { return Ok(None) };
    let refused = |what: String| Err(Failure::refused(format!("security.{what}")));
    let ours = rustix::thread::capabilities(None).map(|sets| sets.permitted.bits());
    let ours = ours.map_err(|error| Failure::internal("see what we may", &error))?;
    let lacking = capability::names(security.capabilities & !ours);
    if !lacking.is_empty() {
        let what = lacking.join(", ");
        return refused(format!("capabilities: the agent itself does not have {what}"));
    }
    let missing = security.read_only_paths.iter().find(|path| !Path::new(path).exists());
    if let Some(missing) = missing {
        return refused(format!("read_only_paths: {missing} is not on this machine"));
    }
    if security.private_tmp
        && let Some(hidden) = TEMPORARY.iter().find(|temporary| folder.starts_with(temporary))
    {
        let what = format!(
            "private_tmp: the agent keeps its functions below {hidden}, where they would not be seen; \
             give it another --state-dir"
        );
        return refused(what);
    }
    let confinement = Confinement {
        no_new_privileges: security.no_new_privileges,
        capabilities: security.capabilities,
        read_only: security.read_only_paths.iter().map(PathBuf::from).collect(),
        // Without a path that is read-only it is as writable as it was.
        writable: if security.read_only_paths.is_empty() {
            Vec::new()
        } else {
            vec![folder.to_owned()]
        },
        private_tmp: security.private_tmp,
        network: security.network,
    };
    Ok(Some(confinement))
}
