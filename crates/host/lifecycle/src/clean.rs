//! Compares the kernel and the disk with the records, and removes what is ours and belongs to nothing.

use std::collections::{BTreeMap, HashSet};

use vnode_driver::NodeSpec;
use vnode_network::{Lan, ownership};

use crate::damaged::way_out;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::{blocking, driver_error};
use crate::record::LinkKind;
use crate::request;
use crate::view::Cleaned;
use crate::wanted::Records;

/// What is cleaned, and what is not.
struct Sweep {
    dry_run: bool,
    /// Keys of damaged records, by lab, but of the one that is given up.
    damaged: BTreeMap<String, Vec<String>>,
    /// Labs that operations change now.
    changing: HashSet<String>,
    cleaned: Cleaned,
    /// Labs of which something is left.
    unclean: HashSet<String>,
}

impl Sweep {
    /// Why nothing of a lab is touched.
    fn spared(&self, lab: &str) -> Option<String> {
        match self.damaged.get(lab) {
            Some(keys) => Some(format!("`{}` cannot be read; {}", keys.join("`, `"), way_out(lab))),
            None => self.changing.contains(lab).then(|| "an operation changes the lab".to_owned()),
        }
    }

    async fn remove(&mut self, lab: &str, what: String, removal: impl Future<Output = Result<()>>) {
        let left = match self.spared(lab) {
            Some(why) => why,
            None if self.dry_run => return self.cleaned.removed.push(what),
            None => match removal.await {
                Ok(()) => return self.cleaned.removed.push(what),
                Err(error) => error.chain(),
            },
        };
        self.unclean.insert(lab.to_owned());
        self.cleaned.left.push(format!("{what}: {left}"));
    }
}

impl Host {
    /// Only what bears our mark is looked at (T-09). What a damaged record may speak of, and what belongs to a lab that is
    /// being changed, is left and told. With `lab`, that lab's damaged records are given up, and all they may speak of goes.
    ///
    /// # Errors
    /// The kernel, the store or the state folder cannot be read; `lab` has no damaged records, or nodes that have.
    pub async fn clean(&self, request: request::Clean) -> Result<Cleaned> {
        // Nobody begins to make anything meanwhile.
        let _admission = self.inner.locks.allocator().await;
        let mut damaged = self.inner.damaged.now(&*self.inner.store).await?;
        if let Some(lab) = &request.lab {
            self.can_be_given_up(lab, damaged.remove(lab))?;
        }
        let mut sweep = Sweep {
            dry_run: request.dry_run,
            damaged,
            changing: self.changing().await?,
            cleaned: Cleaned::default(),
            unclean: HashSet::new(),
        };
        let (names, tables, folders) = self.expected();
        let (network, instance) = (self.inner.network.clone(), self.inner.instance.clone());
        let owned = blocking(move || ownership::list_owned(&network, &instance)).await?;
        for object in owned {
            if names.contains(&object.name) || tables.contains(&object.name) {
                continue;
            }
            let lab = object.lab.clone();
            let what = format!("{} `{}` of lab `{lab}`", object.what, object.name);
            let (network, instance) = (self.inner.network.clone(), self.inner.instance.clone());
            let removal =
                blocking(move || ownership::remove(&network, &instance, &object).map(drop));
            sweep.remove(&lab, what, removal).await;
        }
        let (network, dry_run) = (self.inner.network.clone(), request.dry_run);
        let stale = blocking(move || vnode_network::block::sweep(network.ns(), dry_run)).await?;
        let block = |chain| format!("block of `{chain}`, which is gone");
        sweep.cleaned.removed.extend(stale.into_iter().map(block));
        for (lab, node) in self.folders()? {
            if folders.contains(&(lab.clone(), node.clone())) {
                continue;
            }
            let (spec, dir) = (stray(&lab, &node), self.inner.node_dir(&lab, &node));
            let removal =
                async { self.inner.driver.destroy(&spec, &dir).await.map_err(driver_error) };
            sweep.remove(&lab, format!("folder of node `{lab}/{node}`"), removal).await;
        }
        if let Some(lab) = &request.lab
            && !sweep.unclean.contains(lab)
        {
            // Last: until then they still say whose all that is.
            sweep.remove(lab, format!("records of lab `{lab}`"), self.give_up(lab)).await;
        }
        Ok(sweep.cleaned)
    }

    fn can_be_given_up(&self, lab: &str, damaged: Option<Vec<String>>) -> Result<()> {
        let Some(damaged) = damaged else {
            return Err(Error::not_found(format!("no record of lab `{lab}` is damaged"))
                .hint(format!("`vnode down {lab}` takes a lab away that is whole")));
        };
        let node = damaged.iter().find_map(|key| key.strip_prefix("node/"));
        if let Some(node) = node.filter(|_| self.inner.registry.read().contains_key(lab)) {
            return Err(Error::state(format!("the record of node `{node}` cannot be read"))
                .hint(format!("`vnode destroy --force {node}` gives that one up")));
        }
        Ok(())
    }

    /// Removes the records that the registry does not have, and the files of a lab that it does not have.
    async fn give_up(&self, lab: &str) -> Result<()> {
        if !self.inner.registry.read().contains_key(lab) {
            let nodes = self.inner.options.state_dir.join("nodes").join(lab);
            for folder in [self.inner.lab_dir(lab), nodes] {
                crate::runner::remove_folder(&folder)?;
            }
        }
        self.inner.save(self.inner.lab_changes(lab).await?).await
    }

    /// Labs that operations change now.
    async fn changing(&self) -> Result<HashSet<String>> {
        let all = self.engine.list().await;
        let all =
            all.map_err(|source| Error::failed("cannot list the operations").because(source))?;
        let lab = |subject: &str| {
            let rest = subject.strip_prefix("lab/")?;
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        };
        let running = all.iter().filter(|operation| !operation.state.is_ended());
        Ok(running.filter_map(|operation| lab(&operation.subject)).collect())
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
