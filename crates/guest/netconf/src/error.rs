//! What is wrong with a description. Many texts are those of the OpenStack agent, because tools compare them.

/// A description that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    #[error("No MAC found in config")]
    NoMac,
    #[error("Unknown interface MAC {0}")]
    UnknownMac(String),
    #[error("No IPs found for interface")]
    NoAddresses,
    #[error("Invalid value '{0}' for 'enabled' key")]
    Enabled(String),
    #[error("Missing '{key}' key for IPv4 address")]
    Missing4 { key: &'static str },
    #[error("Missing 'ip' or 'address' key for IPv6 address")]
    MissingAddress6,
    #[error("Missing 'netmask' key for IPv6 address")]
    MissingMask6,
    /// The mask alone, in quotes: what Python says of a missing key.
    #[error("'{0}'")]
    Mask(String),
    #[error("Missing '{key}' key for route")]
    MissingRoute { key: &'static str },
    #[error("Multiple {family} default routes specified")]
    ManyGateways { family: &'static str },
    #[error("Invalid hostname")]
    Hostname,
    /// The decoder's own text.
    #[error("{0}")]
    Json(#[source] serde_json::Error),
    #[error("'{key}' is not {wanted}")]
    Type { key: &'static str, wanted: &'static str },
    #[error("Invalid address '{value}' for '{key}' key")]
    Address { key: &'static str, value: String },
    #[error("more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
    #[error("`{0}` names no interface of this guest")]
    UnknownName(String),
    /// Said of a config drive or a seed.
    #[error("{what} `{value}` is not supported")]
    Unsupported { what: &'static str, value: String },
    #[error("{what}")]
    Part { what: &'static str },
    #[error(
        "`{name}` is part of another interface: it has no addresses of its own, and one master"
    )]
    Member { name: String },
    #[error("the text is no YAML that we read: {0}")]
    Yaml(String),
    #[error("the text is longer than {most} bytes")]
    TooLong { most: usize },
    #[error("the text is not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
}

/// A value from outside as an error may show it: one line, not long.
pub(crate) fn shown(value: &str) -> String {
    const MOST: usize = 80;
    let mut text: String =
        value.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
