//! What an image says about the process to be run from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The part of an OCI image configuration that concerns a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Put before `cmd`.
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]` by name or number; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub workdir: String,
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM` or `15`.
    pub stop_signal: Option<String>,
    pub volumes: Vec<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub healthcheck: Option<Healthcheck>,
}

/// Docker's extension of the OCI configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `["CMD", argv...]`, `["CMD-SHELL", line]` or `["NONE"]`.
    pub test: Vec<String>,
    /// Nanoseconds, as docker writes them; 0 is the default of whoever runs the check.
    pub interval_ns: u64,
    pub timeout_ns: u64,
    pub start_period_ns: u64,
    pub retries: u32,
}
