//! The routes, one file for each resource.

pub(crate) mod agent;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod lab;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod machine;
pub(crate) mod node;
pub(crate) mod operation;
pub(crate) mod readiness;
pub(crate) mod snapshot;
pub(crate) mod stream;
pub(crate) mod timeline;
pub(crate) mod token;
