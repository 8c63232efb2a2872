//! Control groups of programs that work for a node and are none of its own: found by name, as the node's.

use std::path::PathBuf;

use super::ContainerDriver;
use super::instance::blocking;
use crate::{Error, Limits, NodeSpec, Result};

impl ContainerDriver {
    pub(super) async fn group_beside_now(
        &self,
        spec: &NodeSpec,
        what: &str,
        limits: &Limits,
    ) -> Result<Vec<PathBuf>> {
        // A confinement of devices takes no second one, and who is left in it is nobody's.
        self.end_beside_now(spec, what).await?;
        let group = self.tree.beside(&spec.lab, &spec.node, what);
        let (new, limits, mark) = (group.clone(), limits.clone(), spec.mark.clone());
        let made = blocking(move || new.create(&limits).map(|()| new.mark(&mark))).await?;
        let confined = made
            .map_err(|(doing, e)| Error::io(doing, e))
            .and_then(|()| self.confine_devices(spec, &group));
        if let Err(error) = confined {
            // The first error is what is told.
            group.remove();
            return Err(error);
        }
        Ok(group.folders())
    }

    pub(super) async fn end_beside_now(&self, spec: &NodeSpec, what: &str) -> Result<()> {
        let group = self.tree.beside(&spec.lab, &spec.node, what);
        let node = spec.node.clone();
        let work = move || {
            if !group.exists() {
                return Ok(());
            }
            group.kill().map_err(|(doing, e)| Error::io(doing, e))?;
            let left = group.remove();
            if left.is_empty() { Ok(()) } else { Err(Error::Left { node, left }) }
        };
        blocking(work).await?
    }
}
