//! The OpenStack agent's two halves together: the XenStore exchange and the JSON form, against a store in this process
//! as an unprivileged domain, and against Xen's own daemon. Cases XS-1 to XS-14, FN-1, PW, IF, UP of the specification.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests, whose other side are Xen's own programs

#[path = "openstack/agent.rs"]
mod agent;
#[path = "openstack/exchange.rs"]
mod exchange;
#[path = "openstack/functional.rs"]
mod functional;
#[path = "openstack/killed.rs"]
mod killed;
