//! The keys of the configuration file: the reader checks against this table, and the JSON Schema and the
//! reference are made from it.

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Texts,
    Bool,
    /// A whole number between these.
    Integer(i64, i64),
    Integers(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
    /// The exchanges it belongs to; empty: all.
    pub(super) of: &'static [&'static str],
}

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc, of: &[] }
}

const fn of(exchanges: &'static [&'static str], key: Key) -> Key {
    Key { of: exchanges, ..key }
}

pub(super) const EXCHANGES: &[&str] =
    &["unix", "virtio", "isa", "vsock", "tls", "stdio", "xenstore", "plugin"];
pub(super) const PARSERS: &[&str] = &["native", "guest", "openstack", "plugin"];
pub(super) const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
pub(super) const SOURCES: &[&str] = &["config-drive", "nocloud", "xenstore"];

/// Tables at the top, beside the keys of [`TOP`].
pub(super) const TABLES: &[&str] = &["log", "plugins", "boot", "channel", "command"];

pub(super) const TOP: &[Key] = &[key(
    "defaults",
    Kind::Bool,
    "Whether the built-in channels are there (default true); one that a file names is replaced either way.",
)];

pub(super) const LOG: &[Key] = &[
    key("level", Kind::Word(LEVELS), "How much is said (default info)."),
    key("format", Kind::Word(&["text", "json"]), "How it is written (default text)."),
    key("file", Kind::Text, "The file it goes to, made with mode 0600; default: standard error."),
];

pub(super) const PLUGINS: &[Key] = &[
    key(
        "commands",
        Kind::Text,
        "Folder of command plugins (default /usr/lib/vnode/agent/commands).",
    ),
    key(
        "time-limit-seconds",
        Kind::Integer(1, 86_400),
        "How long a command plugin may run (default 60).",
    ),
];

pub(super) const BOOT: &[Key] = &[
    key(
        "sources",
        Kind::Texts,
        "Where `--once` looks, in this order: config-drive, nocloud, xenstore (default: all three).",
    ),
    key(
        "config-drive",
        Kind::Text,
        "Where the config drive is mounted (default: /media/configdrive, /mnt/config).",
    ),
    key(
        "nocloud",
        Kind::Text,
        "The folder of the NoCloud seed (default /var/lib/cloud/seed/nocloud).",
    ),
];

pub(super) const CHANNEL: &[Key] = &[
    key("name", Kind::Text, "Its name; a channel of the same name in an earlier file is replaced."),
    key("exchange", Kind::Word(EXCHANGES), "Where requests come from."),
    key("parser", Kind::Word(PARSERS), "The language spoken."),
    key("enabled", Kind::Bool, "Whether it is there (default true)."),
    key(
        "allow",
        Kind::Texts,
        "The only commands that may be used; default: all that are on by default.",
    ),
    key("block", Kind::Texts, "Commands that may not be used; comes after `allow`."),
    key(
        "roots",
        Kind::Texts,
        "Folders that the commands for files stay in, links too (default: the whole machine). `exec` knows no such bounds.",
    ),
    key(
        "request-bytes",
        Kind::Integer(1024, 4 << 20),
        "Largest request (default 1048576; of the OpenStack form 65536).",
    ),
    key("response-bytes", Kind::Integer(1024, 4 << 20), "Largest response (default 1048576)."),
    key("connections", Kind::Integer(1, 64), "Connections at a time (default 8)."),
    key(
        "stall-seconds",
        Kind::Integer(1, 3600),
        "How long a client may leave answers unread (default 30).",
    ),
    of(&["unix", "virtio", "isa", "xenstore"], key("path", Kind::Text, "Socket, port or device.")),
    of(
        &["unix"],
        key(
            "users",
            Kind::Integers(0, u32::MAX as i64),
            "User ids that may connect (default: root, and who runs the agent).",
        ),
    ),
    of(
        &["isa"],
        key("baud", Kind::Integer(50, 4_000_000), "Speed of the line; default: as it is."),
    ),
    of(&["vsock"], key("port", Kind::Integer(1, u32::MAX as i64 - 1), "Port to listen on.")),
    of(
        &["vsock"],
        key(
            "peers",
            Kind::Integers(0, u32::MAX as i64),
            "Context ids that may connect (default: 2, the host).",
        ),
    ),
    of(&["tls"], key("listen", Kind::Text, "Address and port to listen on.")),
    of(&["tls"], key("certificate", Kind::Text, "File of our certificate chain, PEM.")),
    of(&["tls"], key("key", Kind::Text, "File of our private key, PEM.")),
    of(
        &["tls"],
        key(
            "client-ca",
            Kind::Text,
            "File of the authorities that clients' certificates come from, PEM.",
        ),
    ),
    of(
        &["tls"],
        key(
            "token-file",
            Kind::Text,
            "File of the token that a client without a certificate sends first, as a line.",
        ),
    ),
    of(
        &["xenstore"],
        key("base", Kind::Text, "What paths are relative to, instead of the guest's home."),
    ),
    of(
        &["xenstore"],
        key("poll-seconds", Kind::Integer(1, 3600), "The slow poll beside the watch (default 5)."),
    ),
    of(
        &["xenstore"],
        key(
            "keep-seconds",
            Kind::Integer(0, 86400),
            "How long answers are kept for their readers (default 900); 0 keeps them for ever.",
        ),
    ),
    of(
        &["xenstore"],
        key(
            "publish",
            Kind::Bool,
            "Publishes the system's name, addresses and memory for XAPI-based tool stacks (default false).",
        ),
    ),
    of(&["plugin"], key("program", Kind::Text, "The exchange's program.")),
    of(&["plugin"], key("arguments", Kind::Texts, "Its arguments.")),
    key("parser-program", Kind::Text, "With parser `plugin`: its program."),
    key("parser-arguments", Kind::Texts, "With parser `plugin`: its program's arguments."),
];
