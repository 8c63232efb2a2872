//! Node kinds: what vnode runs, and what containerlab knows besides.

use crate::model::NodeKind;

/// Kinds vnode runs, as written.
pub(crate) const RUN: &[(&str, NodeKind)] = &[
    ("linux", NodeKind::Linux),
    ("vm", NodeKind::Vm),
    ("bridge", NodeKind::Bridge),
    ("host", NodeKind::Host),
];

/// What there is to say of a kind that vnode does not run.
pub(crate) fn hint(kind: &str) -> Option<&'static str> {
    match kind {
        "ovs-bridge" => Some("write `kind: bridge`, or a LAN under `networks`"),
        "ext-container" => Some(
            "a container that another engine runs cannot be an end of a link here; make it a \
             `linux` node with its image",
        ),
        "frr" => Some(
            "write `kind: linux` with the same image, and bind its daemons and frr.conf under /etc/frr",
        ),
        "k8s-kind" | "k8s_kind" => {
            Some("clusters of kind need Docker; bring them up with containerlab")
        }
        _ if VENDOR.contains(&kind) => Some(
            "its image needs boot steps or a virtual machine that vnode does not have; bring this \
             file up with containerlab, or write `kind: linux` if the image is a plain container",
        ),
        _ => None,
    }
}

/// Further kinds of containerlab, with the short names of older files.
const VENDOR: &[&str] = &[
    "6wind_vsr",
    "arista_ceos",
    "arista_veos",
    "aruba_aoscx",
    "border0",
    "ceos",
    "checkpoint_cloudguard",
    "cisco_asav",
    "cisco_c8000",
    "cisco_c8000v",
    "cisco_c9800cl",
    "cisco_cat9kv",
    "cisco_csr1000v",
    "cisco_ftdv",
    "cisco_iol",
    "cisco_n9kv",
    "cisco_sdwan",
    "cisco_vios",
    "cisco_xrd",
    "cisco_xrd_vrouter",
    "cisco_xrv",
    "cisco_xrv9k",
    "crpd",
    "cumulus_cvx",
    "cvx",
    "dell_ftosv",
    "dell_sonic",
    "f5_bigip-ve",
    "fdio_vpp",
    "fortinet_fortigate",
    "freebsd",
    "generic_vm",
    "huawei_vrp",
    "ipinfusion_ocnos",
    "juniper_cjunosevolved",
    "juniper_crpd",
    "juniper_vjunosevolved",
    "juniper_vjunosrouter",
    "juniper_vjunosswitch",
    "juniper_vmx",
    "juniper_vqfx",
    "juniper_vsrx",
    "keysight_ixia-c-one",
    "mikrotik_ros",
    "mysocketio",
    "nokia_srlinux",
    "nokia_sros",
    "nokia_srsim",
    "openbsd",
    "openwrt",
    "ostinato",
    "paloalto_panos",
    "rare",
    "sonic-vm",
    "sonic-vs",
    "srl",
    "srsim",
    "vr-aoscx",
    "vr-arista_veos",
    "vr-c8000v",
    "vr-cisco_csr",
    "vr-cisco_csr1000v",
    "vr-cisco_n9kv",
    "vr-cisco_nxos",
    "vr-cisco_xrv",
    "vr-cisco_xrv9k",
    "vr-csr",
    "vr-dell_ftosv",
    "vr-fortinet_fortigate",
    "vr-ftosv",
    "vr-juniper_vmx",
    "vr-juniper_vqfx",
    "vr-juniper_vsrx",
    "vr-mikrotik_ros",
    "vr-n9kv",
    "vr-nokia_sros",
    "vr-nxos",
    "vr-paloalto_panos",
    "vr-pan",
    "vr-ros",
    "vr-sros",
    "vr-veos",
    "vr-vjunosevolved",
    "vr-vjunosswitch",
    "vr-vmx",
    "vr-vqfx",
    "vr-vsrx",
    "vr-xrv",
    "vr-xrv9k",
    "vyosnetworks_vyos",
    "xrd",
];
