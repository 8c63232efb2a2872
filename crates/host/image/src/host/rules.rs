//! What is hidden, and why. Adding a line is all that is needed to hide more.

/// How a file's secrets are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sanitiser {
    /// Password fields of `shadow(5)`, `gshadow(5)` or `passwd(5)` become `*`.
    Passwords,
    /// The file becomes empty.
    Nothing,
}

/// What is done to the paths of a rule; those that are not there are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A folder is emptied, a file removed.
    Hide,
    /// A folder keeps its folders and loses its files: services expect theirs below `/var/log`.
    KeepFolders,
    Sanitise(Sanitiser),
    /// Anywhere below, folders that others than their owner and group may not enter are emptied, and files that these may
    /// not read are removed: in a node everybody could.
    HideClosed,
    /// The same of files; of folders only those that are root's alone are emptied, the others keep their own folders.
    HideClosedFiles,
}

/// A rule: paths from the root (`*` stands for any part of one name), what is done to them, why.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub paths: &'static [&'static str],
    pub action: Action,
    pub why: &'static str,
}

/// Folders at the top that are shown. All others at the top are emptied, files at the top removed: `/root`, `/home`,
/// `/boot`, `/run`, `/tmp`, `/srv`, `/mnt`, `/media`, and whatever the operator has put there.
pub const SHOWN: &[&str] =
    &["bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr", "var"];

/// Never hidden, whatever an account names as its home.
pub(super) const NEVER_HIDDEN: &[&str] = &[
    "",
    "bin",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "sbin",
    "usr",
    "var",
    "var/lib",
    "var/cache",
    "var/spool",
    "usr/local",
];

/// Closed files that hold no secrets and that programs of the same package need to start.
pub(super) const NOT_SECRET: &[&str] = &[
    "etc/frr/daemons",
    "etc/frr/vtysh.conf",
    "etc/frr/support_bundle_commands.conf",
    "etc/bird/envvars",
];

/// Not looked over for what is closed, as it is the distribution's own, with thousands of files that everybody may read.
pub(super) const OPEN: &[&str] = &[
    "var/cache/apt",
    "var/cache/dnf",
    "var/cache/fontconfig",
    "var/cache/man",
    "var/lib/apk",
    "var/lib/apt",
    "var/lib/dnf",
    "var/lib/dpkg",
    "var/lib/pacman",
    "var/lib/rpm",
];

/// Why a folder is emptied that has more files than are looked over at each making of a lab.
pub const TOO_LARGE: &str = "too large to be looked over for what is closed";

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        paths: &["etc/shadow*", "etc/gshadow*", "etc/passwd", "etc/passwd-"],
        action: Action::Sanitise(Sanitiser::Passwords),
        why: "password hashes",
    },
    Rule {
        paths: &["etc/machine-id", "var/lib/dbus/machine-id"],
        action: Action::Sanitise(Sanitiser::Nothing),
        why: "identity of the machine",
    },
    Rule {
        paths: &[
            "etc/security/opasswd*",
            "etc/sudoers",
            "etc/sudoers.d",
            "etc/doas.conf",
            "var/backups",
        ],
        action: Action::Hide,
        why: "accounts and what they may do",
    },
    Rule {
        paths: &[
            "etc/ssh/ssh_host_*",
            "etc/dropbear",
            "var/lib/systemd/random-seed",
            "var/lib/systemd/credential.secret",
            "etc/credstore",
            "etc/credstore.encrypted",
        ],
        action: Action::Hide,
        why: "keys of the machine",
    },
    Rule {
        paths: &[
            "etc/ssl/private",
            "etc/pki/tls/private",
            "etc/pki/private",
            "etc/letsencrypt",
            "var/lib/letsencrypt",
            "etc/ipa",
            "etc/nginx/ssl",
            "etc/apache2/ssl",
        ],
        action: Action::Hide,
        why: "private keys of certificates",
    },
    Rule {
        paths: &[
            "etc/krb5.keytab",
            "etc/*.keytab",
            "var/lib/krb5kdc",
            "etc/krb5kdc",
            "var/kerberos",
            "var/lib/sss",
            "etc/sssd",
            "var/lib/samba/private",
            "etc/samba/credentials*",
            "etc/*.secret",
            "etc/ldap/*.secret",
        ],
        action: Action::Hide,
        why: "keys of directory and login services",
    },
    Rule {
        paths: &[
            "etc/crypttab",
            "etc/cryptsetup-keys.d",
            "etc/luks",
            "etc/iscsi",
            "etc/multipath/wwids",
            "etc/fstab",
            "etc/cifs*",
            "etc/davfs2/secrets",
        ],
        action: Action::Hide,
        why: "disks, and keys to them",
    },
    Rule {
        paths: &[
            "etc/wireguard",
            "etc/ipsec.secrets",
            "etc/ipsec.d/private",
            "etc/swanctl",
            "etc/strongswan.d",
            "etc/openvpn",
            "etc/ppp/*secrets",
            "etc/xl2tpd/*secrets",
            "etc/NetworkManager/system-connections",
            "var/lib/NetworkManager",
            "etc/netplan",
            "etc/wpa_supplicant",
            "var/lib/iwd",
            "var/lib/bluetooth",
            "var/lib/connman",
            "etc/tinc",
            "etc/nebula",
            "var/lib/tailscale",
            "var/lib/zerotier-one",
            "etc/bind/rndc.key",
            "etc/hostapd",
        ],
        action: Action::Hide,
        why: "keys of networks",
    },
    Rule {
        paths: &["etc/network/interfaces", "etc/network/interfaces.d", "etc/systemd/network"],
        action: Action::Hide,
        why: "the host's own networks, which are not the node's, and their keys",
    },
    Rule {
        paths: &[
            "var/lib/docker",
            "var/lib/containerd",
            "var/lib/containers",
            "var/lib/libvirt",
            "etc/libvirt/secrets",
            "etc/libvirt/qemu",
            "var/lib/lxc",
            "var/lib/lxd",
            "var/lib/incus",
            "var/snap",
            "var/lib/snapd",
            "var/lib/machines",
            "var/lib/vnode",
            "var/lib/nova",
            "var/lib/one",
        ],
        action: Action::Hide,
        why: "other containers and virtual machines",
    },
    Rule {
        paths: &[
            "etc/docker",
            "etc/containers/auth.json",
            "etc/containers/*auth*",
            "etc/containerd/certs.d",
            "var/lib/kubelet",
            "etc/kubernetes",
            "etc/rancher",
            "var/lib/rancher",
            "var/lib/etcd",
            "etc/vault.d",
            "etc/consul.d",
            "etc/nomad.d",
        ],
        action: Action::Hide,
        why: "credentials of clusters and registries",
    },
    Rule {
        paths: &[
            "var/lib/mysql*",
            "var/lib/mariadb",
            "var/lib/postgresql",
            "var/lib/pgsql",
            "var/lib/redis",
            "var/lib/mongo*",
            "var/lib/ldap",
            "var/lib/slapd",
            "etc/mysql/debian.cnf",
            "var/lib/influxdb",
            "var/lib/grafana",
            "var/lib/prometheus",
            "var/lib/rabbitmq",
            "var/lib/elasticsearch",
            "var/lib/jenkins",
            "var/lib/gitlab*",
            "var/opt",
            "var/www",
        ],
        action: Action::Hide,
        why: "data of services",
    },
    Rule {
        paths: &[
            "var/mail",
            "var/spool/mail",
            "var/spool/cron",
            "var/spool/at",
            "var/spool/anacron",
            "var/spool/postfix",
            "var/spool/exim4",
            "var/spool/cups",
            "etc/postfix/sasl*",
            "etc/exim4/passwd*",
            "etc/msmtprc",
            "etc/aliases",
            "etc/cron.d",
            "etc/crontab",
            "etc/anacrontab",
        ],
        action: Action::Hide,
        why: "mail, and what is run at set times",
    },
    Rule {
        paths: &[
            "var/lib/cloud",
            "var/lib/waagent",
            "var/lib/amazon",
            "var/lib/google",
            "etc/cloud/cloud.cfg.d",
        ],
        action: Action::Hide,
        why: "what the cloud told this instance",
    },
    Rule {
        paths: &[
            "etc/apt/auth.conf",
            "etc/apt/auth.conf.d",
            "etc/dnf/vars",
            "etc/rhsm",
            "etc/pki/entitlement",
            "etc/pki/consumer",
            "var/cache/debconf",
            "var/lib/ubuntu-advantage",
            "var/lib/command-not-found",
        ],
        action: Action::Hide,
        why: "credentials of package sources, answers given to packages",
    },
    Rule {
        paths: &[
            "var/tmp",
            "var/crash",
            "var/lib/systemd/coredump",
            "var/lib/systemd/pstore",
            "var/lock",
            "var/run",
            "var/local",
        ],
        action: Action::Hide,
        why: "leftovers of running programs",
    },
    Rule { paths: &["var/log"], action: Action::KeepFolders, why: "logs" },
    Rule {
        paths: &["var/lib", "var/cache", "var/spool", "opt", "usr/local"],
        action: Action::HideClosed,
        why: "closed to other users on the host",
    },
    Rule {
        paths: &["etc"],
        action: Action::HideClosedFiles,
        why: "not readable by every user on the host",
    },
];
