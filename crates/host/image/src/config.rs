//! What an image says about the process to be run from it.
//!
//! OCI image specification, `config.md`, with docker's `Healthcheck`. Lenient where tools differ: `null` is nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::manifest::Error;

/// Bytes of one text in a configuration; the kernel takes no longer argument or variable.
const TEXT: usize = 128 * 1024;

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

/// A configuration file as far as it is read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub config: ImageConfig,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default, deserialize_with = "or_default")]
    config: Raw,
    #[serde(default, deserialize_with = "or_default")]
    rootfs: RawRootFs,
}

#[derive(Deserialize, Default)]
struct RawRootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Raw {
    #[serde(deserialize_with = "one_or_many")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    healthcheck: Option<RawHealthcheck>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct RawHealthcheck {
    #[serde(deserialize_with = "one_or_many")]
    test: Vec<String>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    retries: i64,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Old tools wrote a lone string where a list belongs.
fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<OneOrMany>::deserialize(d)? {
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
        None => Vec::new(),
    })
}

impl ConfigFile {
    /// Parses a configuration, whose size the caller has bounded.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawFile = serde_json::from_slice(bytes)?;
        let Raw {
            entrypoint,
            cmd,
            env,
            user,
            working_dir,
            labels,
            stop_signal,
            volumes,
            exposed_ports,
            healthcheck,
        } = raw.config;
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let config = ImageConfig {
            entrypoint,
            cmd,
            env,
            user,
            workdir: working_dir,
            labels,
            stop_signal: stop_signal.filter(|s| !s.is_empty()),
            volumes: volumes.into_keys().collect(),
            exposed_ports: exposed_ports.into_keys().collect(),
            healthcheck: healthcheck.map(|h| Healthcheck {
                test: h.test,
                interval_ns: unsigned(h.interval),
                timeout_ns: unsigned(h.timeout),
                start_period_ns: unsigned(h.start_period),
                retries: u32::try_from(h.retries).unwrap_or(0),
            }),
        };
        let texts = [&config.entrypoint, &config.cmd, &config.env];
        if texts
            .into_iter()
            .flatten()
            .chain([&config.user, &config.workdir])
            .any(|t| t.len() > TEXT)
        {
            return Err(Error::TextTooLong(TEXT));
        }
        Ok(Self { config, diff_ids: raw.rootfs.diff_ids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_docker_is_read() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/tini","--"],"Cmd":null,
            "Env":["A=b=c"],"User":"frr:frr","WorkingDir":"/srv","Labels":{"x":"y"},"StopSignal":"SIGQUIT",
            "Volumes":{"/data":{}},"ExposedPorts":{"179/tcp":{}},
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":3}},
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
            "history":[]}"#;
        let file = ConfigFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.diff_ids, [Digest::of(b"")]);
        let c = file.config;
        assert_eq!((c.entrypoint, c.cmd), (vec!["/tini".to_owned(), "--".into()], vec![]));
        assert_eq!(
            (c.env, c.user, c.workdir),
            (vec!["A=b=c".to_owned()], "frr:frr".into(), "/srv".into())
        );
        assert_eq!(
            (c.volumes, c.exposed_ports),
            (vec!["/data".to_owned()], vec!["179/tcp".to_owned()])
        );
        assert_eq!(c.stop_signal.as_deref(), Some("SIGQUIT"));
        let health = c.healthcheck.unwrap();
        assert_eq!((health.interval_ns, health.retries, health.timeout_ns), (5_000_000_000, 3, 0));
    }

    #[test]
    fn nothing_where_nothing_is_said() {
        for text in [
            "{}",
            r#"{"config":null,"rootfs":null}"#,
            r#"{"config":{"Env":null,"Labels":null,"Cmd":"x"}}"#,
        ] {
            assert!(ConfigFile::parse(text.as_bytes()).unwrap().diff_ids.is_empty());
        }
        assert!(ConfigFile::parse(b"<html>").is_err());
        assert!(ConfigFile::parse(br#"{"rootfs":{"diff_ids":["../../etc"]}}"#).is_err());
    }
}
