//! A domain's memory, kept by libvirt and brought back, and its screen.

use tokio_util::sync::CancellationToken;
use vnode_driver::{BoxFuture, Error, Exit, Hardware, Instance, Result};
use vnode_network::Ns;

use super::Node;
use crate::domain::Domain;
use crate::{blocking, nic, picture};

impl Node {
    async fn save_now(&self, cancel: &CancellationToken) -> Result<Exit> {
        if self.running().is_err() {
            // A daemon that was killed had come this far.
            let last = self.status().last_exit.filter(|_| self.saved());
            return last.ok_or_else(|| Error::NotRunning { node: self.node.clone() });
        }
        let kept = self.kept();
        if kept.adopted && !kept.wires.is_empty() {
            // Its owner could not start it again once the node is gone.
            return self.unsupported(
                "a domain that was adopted is not saved with the lab's interfaces in it; write `network-mode: none`, or \
                 save it with `virsh managedsave` when the node is gone",
            );
        }
        let mut saving = std::pin::pin!(self.domain("save the memory", Domain::save));
        let saved = tokio::select! {
            saved = &mut saving => saved,
            () = cancel.cancelled() => {
                if let Err(error) = self.domain("end the saving", Domain::abort_job).await {
                    // It has just ended, or its driver cannot: then it is waited for.
                    tracing::debug!(node = %self.node, %error, "cancel the saving of a domain");
                }
                saving.await
            }
        };
        // Whatever the answer was: what libvirt has counts.
        self.learn().await?;
        saved?;
        *self.agent.lock().await = None;
        let last = self.status().last_exit;
        last.filter(|_| self.saved()).ok_or_else(|| Error::Io {
            doing: format!("save the memory of node `{}`", self.node),
            source: std::io::Error::other("libvirt has kept none"),
        })
    }

    async fn forget_now(&self) -> Result<()> {
        self.domain("throw the saved memory away", |domain| match domain.is_saved()? {
            true => domain.forget_saved(),
            false => Ok(()),
        })
        .await?;
        self.keep(|kept| kept.saved = false)
    }

    async fn picture(&self) -> Result<Vec<u8>> {
        self.running()?;
        let taken = self.domain("show the screen", |domain| domain.screenshot(picture::MOST));
        let taken = taken.await?;
        blocking(move || picture::png(taken)).await?.map_err(|why| Error::Io {
            doing: format!("read the picture of node `{}`", self.node),
            source: std::io::Error::other(why),
        })
    }

    async fn relink_now(&self, interface: &str) -> Result<()> {
        if self.running().is_err() {
            return Ok(());
        }
        let ns = Ns::from_fd(self.shell.netns()?).map_err(nic::network)?;
        let (instance, spec, interface) =
            (self.instance.clone(), self.spec(), interface.to_owned());
        blocking(move || nic::rejoin(&ns, &instance, &spec, &interface)).await?
    }
}

impl Hardware for Node {
    fn save<'a>(&'a self, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<Exit>> {
        Box::pin(self.save_now(cancel))
    }

    fn saved(&self) -> bool {
        self.kept().saved
    }

    fn forget(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.forget_now())
    }

    fn relink<'a>(&'a self, interface: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.relink_now(interface))
    }

    fn screenshot(&self) -> BoxFuture<'_, Result<Vec<u8>>> {
        Box::pin(self.picture())
    }
}
