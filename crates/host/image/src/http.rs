//! The client that speaks HTTP for images: to registries, and to the servers of signed lists.
//!
//! Server certificates are verified always. At most ten redirects, none from https to http. The environment is not
//! read; addresses on the loopback are reached directly, whatever proxy is set.

use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use reqwest::Url;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no client for http can be made; is the package ca-certificates installed?")]
    Client(#[source] reqwest::Error),
    #[error("`{proxy}` is no proxy's address: {why}; write `http://HOST:PORT`")]
    Proxy { proxy: String, why: String },
    #[error("the extra certificates are of no use: {why}")]
    Certificates { why: String },
}

/// How servers are spoken to.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For a connection to come about; none when zero.
    pub connect_limit: Duration,
    /// `http://host:port`.
    pub proxy: Option<String>,
    /// PEM certificates of servers' authorities beside the system's.
    pub extra_certificates: Option<Vec<u8>>,
}

/// A client with those bounds.
///
/// # Errors
/// When proxy or certificates are none, or the system's certificates cannot be read.
pub fn client(options: &Options) -> Result<reqwest::Client, Error> {
    static PROVIDER: Once = Once::new();
    // An error says that the program has chosen its provider already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("vnode/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::custom(|attempt| {
            let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
            if secure && attempt.url().scheme() != "https" {
                attempt.error("redirected from https to plain http")
            } else if attempt.previous().len() > 10 {
                attempt.error("more than ten redirects")
            } else {
                attempt.follow()
            }
        }))
        .no_proxy();
    if !options.connect_limit.is_zero() {
        builder = builder.connect_timeout(options.connect_limit);
    }
    if let Some(proxy) = &options.proxy {
        let proxy = Url::parse(proxy)
            .map_err(|e| Error::Proxy { proxy: proxy.clone(), why: e.to_string() })?;
        builder = builder.proxy(reqwest::Proxy::custom(move |url| {
            (!url.host_str().is_some_and(is_loopback)).then(|| proxy.clone())
        }));
    }
    if let Some(pem) = &options.extra_certificates {
        let wrong = |why: String| Error::Certificates { why };
        let certificates =
            reqwest::Certificate::from_pem_bundle(pem).map_err(|e| wrong(e.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("no PEM certificate is in them".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(Error::Client)
}

/// Whether a host's name or address is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}
