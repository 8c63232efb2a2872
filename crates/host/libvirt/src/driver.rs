//! The driver: a domain's shell is made, found again and destroyed as a container's is, and the domain with it.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vnode_driver::{
    BoxFuture, Capabilities, Domain, DomainSource, Driver, Error, Instance, NetworkMode, NodeSpec,
    OldDisk, Reader, Recovered, Result, Snapshot,
};
use vnode_network::Ns;

use crate::domain::State;
use crate::hub::{Hub, Hubs, refused};
use crate::instance::Node;
use crate::kept::{self, Kept};
use crate::letgo::{Owner, let_go};
use crate::{blocking, definition, nic, snapshot};

/// How the driver is opened.
#[derive(Debug)]
pub struct Options {
    /// The driver that runs the shells.
    pub container: Arc<dyn Driver>,
    /// A folder of the driver's own.
    pub folder: PathBuf,
    /// Name of this daemon's instance, in marks.
    pub instance: String,
    /// Opens the namespace that libvirt's daemon is in: [`Ns::host`], or a test's own.
    pub host: fn() -> vnode_network::Result<Ns>,
}

/// How long a daemon that starts waits for libvirt's word on a domain.
const RECOVERY: Duration = Duration::from_secs(5);

/// URI and UUID of a domain, and the lab and node that have it.
type Claims = HashMap<(String, String), (String, String)>;

/// Domains of libvirt.
#[derive(Debug)]
pub struct LibvirtDriver {
    options: Options,
    hubs: Hubs,
    /// Which node has which domain: no two have the same.
    claims: Mutex<Claims>,
    /// The instances in use, by lab and node.
    nodes: Mutex<HashMap<(String, String), Weak<Node>>>,
}

fn domain(spec: &NodeSpec) -> Result<&Domain> {
    spec.domain.as_ref().ok_or_else(|| Error::Invalid {
        node: spec.node.clone(),
        what: "it is no domain of libvirt".to_owned(),
    })
}

/// Whether a domain is one of those that were there before.
fn adopts(domain: &Domain) -> bool {
    matches!(domain.source, DomainSource::Adopt(_))
}

impl LibvirtDriver {
    pub fn new(options: Options) -> Self {
        Self { options, hubs: Hubs::default(), claims: Mutex::default(), nodes: Mutex::default() }
    }

    /// Whether a node is one of this driver's, by definition or by what lies in its folder.
    pub fn owns(&self, spec: &NodeSpec, dir: &Path) -> bool {
        spec.domain.is_some() || kept::is_there(dir)
    }

    /// The definition of the shell: a namespace, and nothing that ever runs.
    fn shell(&self, spec: &NodeSpec) -> Result<NodeSpec> {
        let layer = self.options.folder.join("root");
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&layer).map_err(
            |source| Error::Io { doing: format!("make folder {}", layer.display()), source },
        )?;
        Ok(NodeSpec {
            hostname: spec.hostname.clone(),
            layers: vec![layer],
            read_only_root: true,
            network: spec.network.clone(),
            stop_signal: spec.stop_signal,
            stop_grace_ms: spec.stop_grace_ms,
            log_limit_bytes: spec.log_limit_bytes,
            mark: spec.mark.clone(),
            ..NodeSpec::bare(&spec.lab, &spec.node, spec.vmid, &spec.uuid)
        })
    }

    fn claim(&self, spec: &NodeSpec, kept: &Kept) -> Result<()> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let own = (spec.lab.clone(), spec.node.clone());
        let holder =
            claims.entry((kept.uri.clone(), kept.uuid.clone())).or_insert_with(|| own.clone());
        if *holder == own {
            return Ok(());
        }
        Err(Error::Invalid {
            node: spec.node.clone(),
            what: format!("node `{}` of lab `{}` has the same domain", holder.1, holder.0),
        })
    }

    fn release(&self, spec: &NodeSpec) {
        let own = (spec.lab.clone(), spec.node.clone());
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, holder| *holder != own);
    }

    /// Makes the instance, and remembers it until the node is destroyed.
    fn instance(
        &self,
        spec: &NodeSpec,
        dir: &Path,
        shell: Arc<dyn Instance>,
        hub: Arc<Hub>,
        kept: Kept,
    ) -> Arc<Node> {
        let marks = (self.options.instance.clone(), self.options.host);
        let node = Node::new(spec, dir.to_owned(), marks, shell, hub, kept);
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert((spec.lab.clone(), spec.node.clone()), Arc::downgrade(&node));
        node
    }

    /// Which domain the node is, and what is there of it; nothing is changed.
    async fn look(
        &self,
        hub: &Arc<Hub>,
        spec: &NodeSpec,
        dir: &Path,
    ) -> Result<(Kept, Option<String>)> {
        let domain = domain(spec)?;
        let mut kept = Kept {
            uri: domain.uri.clone(),
            uuid: spec.uuid.clone(),
            adopted: adopts(domain),
            ran: false,
            joined: false,
            run: None,
            wires: Vec::new(),
            saved: false,
            boots: 0,
            started_unix_ms: None,
            last_exit: None,
        };
        let before = Kept::read(dir)?;
        let xml = match &domain.source {
            DomainSource::Define(path) => {
                let text = kept::read_definition(&spec.node, path)?;
                // Asked here, so that a libvirt that is not there is said before anything is made.
                hub.connection().await?;
                Some(definition::ours(&text, spec, domain, &self.options.instance)?)
            }
            DomainSource::Adopt(name) => {
                let name = name.clone();
                let found = hub.run(&spec.node, "look for the domain", move |connection| {
                    let domain = connection
                        .by_name(&name)
                        .or_else(|error| connection.by_uuid(&name).map_err(|_| error))?;
                    Ok((domain.uuid()?, domain.state()? != State::Off))
                });
                (kept.uuid, kept.ran) = found.await?;
                None
            }
        };
        // Made again over what is there: what was known of it still holds, above all what is plugged in.
        if let Some(before) = before.filter(|b| b.uuid == kept.uuid && b.uri == kept.uri) {
            kept = Kept { joined: false, adopted: kept.adopted, ..before };
        }
        Ok((kept, xml))
    }

    async fn create_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Arc<dyn Instance>> {
        if spec.network != NetworkMode::Own {
            return Err(Error::Unsupported {
                node: spec.node.clone(),
                what:
                    "a domain has a network of its own: leave `network-mode` out, or write `none`"
                        .to_owned(),
            });
        }
        let domain = domain(spec)?;
        let hub = self.hubs.of(&domain.uri);
        let (kept, xml) = self.look(&hub, spec, dir).await?;
        self.claim(spec, &kept)?;
        let made = self.make(&hub, spec, dir, kept, xml).await;
        if made.is_err() {
            self.release(spec);
        }
        made
    }

    async fn make(
        &self,
        hub: &Arc<Hub>,
        spec: &NodeSpec,
        dir: &Path,
        kept: Kept,
        xml: Option<String>,
    ) -> Result<Arc<dyn Instance>> {
        let bare = self.shell(spec)?;
        let new = !dir.exists();
        let shell = self.options.container.create(&bare, dir).await?;
        let rest = async {
            // Before the domain is made, so that it is found whatever happens next.
            kept.write(dir)?;
            if let Some(xml) = xml {
                kept::write_xml(dir, &xml)?;
                // Its interfaces come when it boots: only then are the links there.
                let bare = definition::with(&xml, spec, &[], "")?;
                hub.run(&spec.node, "define the domain", move |connection| {
                    connection.define(&bare).map(drop)
                })
                .await?;
            }
            Ok(())
        };
        if let Err(error) = rest.await {
            // A define whose answer was lost has left a domain.
            if new && let Err(left) = self.destroy_now(spec, dir).await {
                tracing::warn!(node = spec.node, error = %left, "after a failed create");
            }
            return Err(error);
        }
        Ok(self.instance(spec, dir, shell, Arc::clone(hub), kept))
    }

    async fn recover_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Recovered> {
        let Some(kept) = Kept::read(dir)? else {
            // It never came so far as to have a domain.
            return Ok(Recovered::Gone { last_exit: None });
        };
        match self.options.container.recover(spec, dir).await? {
            Recovered::Live(shell) => {
                self.claim(spec, &kept)?;
                let hub = self.hubs.of(&kept.uri);
                let node = self.instance(spec, dir, shell, hub, kept);
                // A libvirt that is away for the moment is asked again; one that hangs does not keep the daemon from its start.
                let asked = match tokio::time::timeout(RECOVERY, node.learn()).await {
                    Ok(asked) => asked.map_err(|error| told(&error)),
                    Err(_) => Err("it does not answer".to_owned()),
                };
                if let Err(error) = asked {
                    tracing::warn!(node = spec.node, error, "ask libvirt for a domain's state");
                    node.wait_for_libvirt();
                }
                Ok(Recovered::Live(node))
            }
            Recovered::Gone { .. } => Ok(Recovered::Gone { last_exit: kept.last_exit }),
        }
    }

    async fn destroy_now(&self, spec: &NodeSpec, dir: &Path) -> Result<()> {
        if let Some(kept) = Kept::read(dir)? {
            let hub = self.hubs.of(&kept.uri);
            let uri = kept.uri.clone();
            let left = |error: Error| Error::Left {
                node: spec.node.clone(),
                left: vec![format!("domain {} of `{uri}`: {}", kept.uuid, told(&error))],
            };
            let connection = hub.connection().await.map_err(left)?;
            let letting = kept.clone();
            let grace = Duration::from_millis(spec.stop_grace_ms);
            let (node, instance) = (spec.clone(), self.options.instance.clone());
            let host = self.options.host;
            let gone = blocking(move || {
                let host = host().map_err(nic::network)?;
                let owner = Owner { host: &host, instance: &instance, spec: &node };
                let gone = let_go(&connection, &letting, grace, &owner);
                gone.map_err(|error| refused(&node.node, "let go the domain", error))?;
                nic::clear(&host, None, &instance, &node)
            });
            gone.await?.map_err(left)?;
        }
        let node = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.remove(&(spec.lab.clone(), spec.node.clone()))
        };
        if let Some(node) = node.and_then(|node| node.upgrade()) {
            node.retire();
        }
        self.options.container.destroy(spec, dir).await?;
        self.release(spec);
        Ok(())
    }

    fn no_root<T>(spec: &NodeSpec) -> Result<T> {
        Err(Error::Unsupported {
            node: spec.node.clone(),
            what: "the disks of a domain are libvirt's, and not opened by vnode; boot it and use its agent"
                .to_owned(),
        })
    }

    /// The domain of a node that is not running.
    fn stopped(&self, spec: &NodeSpec, dir: &Path) -> Result<(Arc<Hub>, Kept)> {
        let kept = Kept::read(dir)?.ok_or_else(|| Error::Invalid {
            node: spec.node.clone(),
            what: "it has no domain yet".to_owned(),
        })?;
        Ok((self.hubs.of(&kept.uri), kept))
    }
}

/// An error and its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Driver for LibvirtDriver {
    fn name(&self) -> &'static str {
        "libvirt"
    }

    /// What libvirt has words for. What the hypervisor behind a URI cannot do is refused when it is asked, in libvirt's words.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mount_root: false,
            exec: true,
            console: true,
            pause: true,
            limits: Vec::new(),
            cgroup: "none".to_owned(),
            user_namespaces: false,
            devices: false,
            snapshot: true,
        }
    }

    fn create<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>> {
        Box::pin(self.create_now(spec, dir))
    }

    fn recover<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Recovered>> {
        Box::pin(self.recover_now(spec, dir))
    }

    fn destroy<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.destroy_now(spec, dir))
    }

    fn mount<'a>(&'a self, spec: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<PathBuf>> {
        Box::pin(async { Self::no_root(spec) })
    }

    fn unmount<'a>(&'a self, _: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<()>> {
        // It never is.
        Box::pin(async { Ok(()) })
    }

    fn snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: &'a str,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async move {
            let (hub, kept) = self.stopped(spec, dir)?;
            snapshot::take(&hub, &spec.node, &kept, name, mark).await
        })
    }

    fn restore<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (hub, kept) = self.stopped(spec, dir)?;
            snapshot::revert(&hub, &spec.node, &kept, name).await
        })
    }

    fn remove_snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (hub, kept) = self.stopped(spec, dir)?;
            snapshot::remove(&hub, &spec.node, &kept, name, mark).await
        })
    }

    fn snapshots<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>>> {
        Box::pin(async move {
            let (hub, kept) = self.stopped(spec, dir)?;
            snapshot::list(&hub, &spec.node, &kept).await
        })
    }

    fn old_disk<'a>(
        &'a self,
        spec: &'a NodeSpec,
        _: &'a Path,
        what: OldDisk,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match what {
                OldDisk::SetAside => Err(Error::Unsupported {
                    node: spec.node.clone(),
                    what: "the disks of a domain are not vnode's to empty; take a snapshot, and restore that"
                        .to_owned(),
                }),
                // None ever lies aside.
                OldDisk::PutBack | OldDisk::Drop => Ok(()),
            }
        })
    }

    fn has_old_disk(&self, _: &NodeSpec, _: &Path) -> bool {
        false
    }

    fn archive_out(&self, spec: &NodeSpec, _: &Path, _: &str) -> Result<Reader> {
        Self::no_root(spec)
    }

    fn archive_in<'a>(
        &'a self,
        spec: &'a NodeSpec,
        _: &'a Path,
        _: &'a str,
        _: Reader,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Self::no_root(spec) })
    }
}
