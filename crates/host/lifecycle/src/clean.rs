//! Compares the kernel and the disk with the records, and removes what is ours and belongs to nothing.

use std::collections::HashSet;

use vnode_driver::NodeSpec;
use vnode_network::{Lan, ownership};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::blocking;
use crate::record::LinkKind;
use crate::view::Cleaned;
use crate::wanted::Records;

impl Host {
    /// Only what bears our mark is looked at (T-09).
    ///
    /// # Errors
    /// The kernel or the state folder cannot be listed.
    pub async fn clean(&self, dry_run: bool) -> Result<Cleaned> {
        let mut cleaned = Cleaned::default();
        let (names, tables, folders) = self.expected();
        let (network, instance) = (self.inner.network.clone(), self.inner.instance.clone());
        let owned = blocking(move || ownership::list_owned(&network, &instance)).await?;
        for object in owned {
            let known = names.contains(&object.name) || tables.contains(&object.name);
            if known {
                continue;
            }
            let text = format!("{} `{}` of lab `{}`", object.what, object.name, object.lab);
            if dry_run {
                cleaned.left.push(text);
                continue;
            }
            let (network, instance) = (self.inner.network.clone(), self.inner.instance.clone());
            match blocking(move || ownership::remove(&network, &instance, &object)).await {
                Ok(_) => cleaned.removed.push(text),
                Err(error) => cleaned.left.push(format!("{text}: {}", error.chain())),
            }
        }
        for (lab, node) in self.folders()? {
            if folders.contains(&(lab.clone(), node.clone())) {
                continue;
            }
            let text = format!("folder of node `{lab}/{node}`");
            if dry_run {
                cleaned.left.push(text);
                continue;
            }
            let spec = stray(&lab, &node);
            let dir = self.inner.node_dir(&lab, &node);
            match self.inner.driver.destroy(&spec, &dir).await {
                Ok(()) => cleaned.removed.push(text),
                Err(error) => {
                    cleaned.left.push(format!("{text}: {}", vnode_protocol::chain(&error)))
                }
            }
        }
        Ok(cleaned)
    }

    /// Names of links and tables, and folders of nodes, that the records account for.
    fn expected(&self) -> (HashSet<String>, HashSet<String>, HashSet<(String, String)>) {
        let labs = self.inner.registry.read();
        let (mut names, mut tables, mut folders) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (name, lab) in labs.iter() {
            let owner = self.inner.owner(name, "");
            tables.insert(vnode_network::control::table_name(&owner));
            names.insert(vnode_network::control::bridge_name(&owner));
            let Records { nodes, links, .. } = lab.records();
            for (node, record) in nodes {
                names.extend(record.control.map(|end| end.port));
                folders.insert((name.clone(), node));
            }
            for (link, record) in links {
                if record.kind == LinkKind::Lan {
                    let lan = Lan::names(&owner, &link, record.ends.len());
                    names.extend(lan.trunks());
                    names.extend(lan.bridges);
                }
                names.extend(record.ends.into_iter().filter_map(|end| end.port));
            }
        }
        (names, tables, folders)
    }

    fn folders(&self) -> Result<Vec<(String, String)>> {
        let root = self.inner.options.state_dir.join("nodes");
        let list = |path: &std::path::Path| -> std::io::Result<Vec<String>> {
            match std::fs::read_dir(path) {
                Ok(entries) => entries
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                    .collect(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let failed =
            |source| Error::failed(format!("cannot list `{}`", root.display())).because(source);
        let mut folders = Vec::new();
        for lab in list(&root).map_err(failed)? {
            for node in list(&root.join(&lab)).map_err(failed)? {
                folders.push((lab.clone(), node));
            }
        }
        Ok(folders)
    }
}

/// The definition of a node of which only the folder is known.
fn stray(lab: &str, node: &str) -> NodeSpec {
    NodeSpec::bare(lab, node, 0, "")
}
