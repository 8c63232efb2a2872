//! The facade: one value that owns this machine's labs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vnode_driver::{Console, Exec, Reader};
use vnode_operation::OperationId;

use crate::error::{Error, Result};
use crate::request;
use crate::view::{ChangeView, Check, Cleaned, Counts, LabView, LinkView, NodeView};

/// How a [`Host`] is opened. Nothing is read from the environment.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of all state; made with mode 0700.
    pub state_dir: PathBuf,
    /// The `vnode-monitor` program.
    pub monitor_program: PathBuf,
    /// Steps carried out at once; 0 is `min(2 × cores, 16)`.
    pub workers: usize,
    pub images: vnode_image::Options,
}

/// This machine's labs. Cheap to clone through its `Arc`.
#[derive(Debug)]
pub struct Host {}

fn unbuilt() -> Error {
    Error::failed("not built yet")
}

impl Host {
    /// Opens the state folder, finishes or undoes what an earlier daemon left, adopts running nodes.
    pub async fn open(_options: Options) -> Result<Arc<Self>> {
        Err(unbuilt())
    }

    /// Ends our tasks; nodes go on.
    pub async fn shutdown(&self) {}

    /// Starts bringing a lab up.
    pub async fn up(&self, _request: request::Up) -> Result<OperationId> {
        Err(unbuilt())
    }

    /// Starts making the lab what the topology says; only the difference. The list is what will be done
    /// (or, with `dry_run`, would be); no operation when nothing differs.
    pub async fn apply(
        &self,
        _request: request::Up,
        _dry_run: bool,
    ) -> Result<(Vec<ChangeView>, Option<OperationId>)> {
        Err(unbuilt())
    }

    /// Starts taking a lab down. An absent lab is no error: `None`.
    pub async fn down(&self, _lab: &str, _request: request::Down) -> Result<Option<OperationId>> {
        Err(unbuilt())
    }

    pub async fn labs(&self) -> Vec<LabView> {
        Vec::new()
    }

    pub async fn lab(&self, _name: &str) -> Result<LabView> {
        Err(unbuilt())
    }

    /// All nodes, or those of one lab; no side effects, no kernel calls.
    pub async fn nodes(&self, _lab: Option<&str>) -> Vec<NodeView> {
        Vec::new()
    }

    /// One node by `NODE` (unique on the host) or `LAB/NODE`.
    pub async fn node(&self, _node: &str) -> Result<NodeView> {
        Err(unbuilt())
    }

    /// The node with its interfaces, resolved definition and limits, as JSON.
    pub async fn inspect(&self, _node: &str) -> Result<serde_json::Value> {
        Err(unbuilt())
    }

    pub async fn create(&self, _request: request::Create) -> Result<OperationId> {
        Err(unbuilt())
    }
    pub async fn boot(&self, _node: &str) -> Result<OperationId> {
        Err(unbuilt())
    }
    /// `grace`: time between asking and killing; the node's own when absent.
    pub async fn halt(&self, _node: &str, _grace: Option<Duration>) -> Result<OperationId> {
        Err(unbuilt())
    }
    /// `hard` kills instead of asking. Namespace, links, vmid stay.
    pub async fn reboot(&self, _node: &str, _hard: bool) -> Result<OperationId> {
        Err(unbuilt())
    }
    /// An unknown node is no error (T-51): `None`. `force` is needed for a node in state `unknown`.
    pub async fn destroy(&self, _node: &str, _force: bool) -> Result<Option<OperationId>> {
        Err(unbuilt())
    }
    pub async fn pause(&self, _node: &str) -> Result<()> {
        Err(unbuilt())
    }
    pub async fn resume(&self, _node: &str) -> Result<()> {
        Err(unbuilt())
    }
    /// Mounts a stopped node's root; the folder. Repeating gives the same folder.
    pub async fn mount(&self, _node: &str) -> Result<PathBuf> {
        Err(unbuilt())
    }
    pub async fn unmount(&self, _node: &str) -> Result<()> {
        Err(unbuilt())
    }

    pub async fn exec(&self, _node: &str, _request: request::Exec) -> Result<Exec> {
        Err(unbuilt())
    }
    pub async fn console(&self, _node: &str) -> Result<Console> {
        Err(unbuilt())
    }
    pub async fn console_resize(&self, _node: &str, _rows: u16, _cols: u16) -> Result<()> {
        Err(unbuilt())
    }
    /// The console log; with `follow` the stream ends only when the node is destroyed.
    pub async fn logs(
        &self,
        _node: &str,
        _follow: bool,
        _tail_bytes: Option<u64>,
    ) -> Result<Reader> {
        Err(unbuilt())
    }
    /// A tar stream of a file or folder in the node.
    pub async fn copy_out(
        &self,
        _node: &str,
        _path: &str,
    ) -> Result<Reader> {
        Err(unbuilt())
    }
    /// Unpacks a tar stream below a folder of the node.
    pub async fn copy_in(
        &self,
        _node: &str,
        _path: &str,
        _tar: Reader,
    ) -> Result<()> {
        Err(unbuilt())
    }

    pub async fn links(&self, _lab: Option<&str>) -> Result<Vec<LinkView>> {
        Err(unbuilt())
    }
    /// `link`: `a:eth1--b:eth1`, a LAN's name, or one end `a:eth1`; `LAB/...` where not unique.
    pub async fn link_set(&self, _link: &str, _request: request::LinkSet) -> Result<LinkView> {
        Err(unbuilt())
    }
    pub async fn link_down(&self, _link: &str) -> Result<LinkView> {
        Err(unbuilt())
    }
    pub async fn link_up(&self, _link: &str) -> Result<LinkView> {
        Err(unbuilt())
    }
    pub async fn link_reset(&self, _link: &str) -> Result<LinkView> {
        Err(unbuilt())
    }
    /// A pcap stream of an interface of a node; ends when dropped.
    pub async fn capture(
        &self,
        _node: &str,
        _interface: &str,
        _snap_length: u32,
    ) -> Result<Reader> {
        Err(unbuilt())
    }

    /// Images in the catalogue with the nodes that use each.
    pub async fn images(&self) -> Result<serde_json::Value> {
        Err(unbuilt())
    }
    pub async fn image_pull(&self, _reference: &str) -> Result<OperationId> {
        Err(unbuilt())
    }
    /// Imports an archive of this machine under a name.
    pub async fn image_import(&self, _reference: &str, _name: &str) -> Result<OperationId> {
        Err(unbuilt())
    }
    pub async fn image_remove(&self, _image: &str) -> Result<()> {
        Err(unbuilt())
    }
    /// Removes images nobody used for `unused`; the references removed.
    pub async fn image_gc(&self, _unused: Duration) -> Result<Vec<String>> {
        Err(unbuilt())
    }

    pub fn events(&self) -> &Arc<vnode_event::Log> {
        unreachable!("not built yet")
    }
    pub fn operations(&self) -> &vnode_operation::Engine {
        unreachable!("not built yet")
    }
    pub async fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }
    /// Compares the kernel with the records and removes what bears our mark and belongs to nothing.
    pub async fn clean(&self, _dry_run: bool) -> Result<Cleaned> {
        Err(unbuilt())
    }
    pub async fn counts(&self) -> Counts {
        Counts::default()
    }
}
