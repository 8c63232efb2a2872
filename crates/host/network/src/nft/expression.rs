//! Rules: what they look at and what they do.
//!
//! Every match loads something into register 1 (sixteen bytes, then onwards in steps of four) and compares or looks it up.

use std::net::{IpAddr, Ipv4Addr};

use crate::netlink::Message;
use crate::netlink::rtnl::octets;

/// Comparison (`enum nft_cmp_ops`).
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// `NFT_REG32_00`: registers of four bytes; each load of a concatenation begins at the next free one.
const REGISTER: u32 = 8;
const REGISTER_VERDICT: u32 = 0;

/// Something of a packet, in a register.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    loads: Vec<Load>,
}

#[derive(Debug, Clone, Copy)]
enum Load {
    /// `enum nft_meta_keys` and length.
    Meta(u32, u32),
    /// Header, offset, length.
    Payload(Header, u32, u32),
    /// `enum nft_ct_keys` and length.
    Conntrack(u32, u32),
    /// Type of the destination address (`RTN_*`).
    DestinationType,
}

impl Load {
    fn length(self) -> u32 {
        match self {
            Load::Meta(_, length) | Load::Payload(_, _, length) | Load::Conntrack(_, length) => {
                length
            }
            Load::DestinationType => 4,
        }
    }
}

/// Part of a frame (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy)]
enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What the packet's data say, by header fields.
pub(crate) mod payload {
    use super::{Field, Header, Load};

    fn at(header: Header, offset: u32, length: u32) -> Field {
        Field { loads: vec![Load::Payload(header, offset, length)] }
    }

    pub(crate) fn ether_source() -> Field {
        at(Header::Link, 6, 6)
    }
    pub(crate) fn ip4_source() -> Field {
        at(Header::Network, 12, 4)
    }
    pub(crate) fn ip4_destination() -> Field {
        at(Header::Network, 16, 4)
    }
    pub(crate) fn ip6_source() -> Field {
        at(Header::Network, 8, 16)
    }
    pub(crate) fn ip6_destination() -> Field {
        at(Header::Network, 24, 16)
    }
    /// Sender's Ethernet address in ARP over Ethernet for IPv4.
    pub(crate) fn arp_source_mac() -> Field {
        at(Header::Network, 8, 6)
    }
    pub(crate) fn arp_source_ip() -> Field {
        at(Header::Network, 14, 4)
    }
    pub(crate) fn source_port() -> Field {
        at(Header::Transport, 0, 2)
    }
    pub(crate) fn destination_port() -> Field {
        at(Header::Transport, 2, 2)
    }
    pub(crate) fn icmp6_type() -> Field {
        at(Header::Transport, 0, 1)
    }
    /// Target of a neighbour advertisement.
    pub(crate) fn neighbour_target() -> Field {
        at(Header::Transport, 8, 16)
    }
}

/// What the kernel knows about the packet.
pub(crate) mod meta {
    use super::{Field, Load};

    fn key(key: i32, length: u32) -> Field {
        Field { loads: vec![Load::Meta(key as u32, length)] }
    }

    pub(crate) fn input_name() -> Field {
        key(libc::NFT_META_IIFNAME, 16)
    }
    pub(crate) fn output_name() -> Field {
        key(libc::NFT_META_OIFNAME, 16)
    }
    /// Ethertype, in network byte order.
    pub(crate) fn protocol() -> Field {
        key(libc::NFT_META_PROTOCOL, 2)
    }
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    pub(crate) fn family() -> Field {
        key(libc::NFT_META_NFPROTO, 1)
    }
    pub(crate) fn transport() -> Field {
        key(libc::NFT_META_L4PROTO, 1)
    }
}

/// `struct` of the connection's state bits, in the host's byte order.
pub(crate) fn ct_state() -> Field {
    Field { loads: vec![Load::Conntrack(libc::NFT_CT_STATE as u32, 4)] }
}

/// The connection's status bits (`enum ip_conntrack_status`), in the host's byte order.
pub(crate) fn ct_status() -> Field {
    Field { loads: vec![Load::Conntrack(libc::NFT_CT_STATUS as u32, 4)] }
}

/// Fields side by side, each padded to four bytes.
pub(crate) fn concat(fields: impl IntoIterator<Item = Field>) -> Field {
    Field { loads: fields.into_iter().flat_map(|field| field.loads).collect() }
}

/// An interface name as a comparison with [`meta::input_name`] wants it: sixteen bytes.
pub(crate) fn interface_value(name: &str) -> [u8; 16] {
    let mut value = [0; 16];
    let length = name.len().min(15);
    value[..length].copy_from_slice(&name.as_bytes()[..length]);
    value
}

/// End of a rule (`enum nft_verdicts`, `enum nf_verdict`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Accept,
}

/// A rule being written: matches first, then what is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    expressions: Vec<Expression>,
}

#[derive(Debug, Clone)]
enum Expression {
    Load(Load, u32),
    Compare {
        operation: u32,
        value: Vec<u8>,
    },
    Mask {
        mask: Vec<u8>,
    },
    Lookup {
        set: String,
        inverted: bool,
        data: bool,
    },
    Verdict(Verdict),
    Translate {
        family: u8,
    },
    Masquerade,
    Counter,
    /// Out of the interface with this index.
    Forward(u32),
    /// A number into the first register.
    Number(u32),
    /// Bytes as they are, into a register.
    Bytes(Vec<u8>, u32),
}

/// The packet is for an address of this host.
pub(crate) fn fib_is_local(rule: Rule) -> Rule {
    let mut rule = rule;
    rule.load(&Field { loads: vec![Load::DestinationType] });
    rule.compare(EQUAL, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
    rule
}

impl Rule {
    pub(crate) fn new() -> Rule {
        Rule::default()
    }

    fn load(&mut self, field: &Field) {
        let mut register = REGISTER;
        for load in &field.loads {
            self.expressions.push(Expression::Load(*load, register));
            register += load.length().div_ceil(4);
        }
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.expressions.push(Expression::Compare { operation, value: value.to_vec() });
    }

    /// `field` is `value`, or begins with it.
    pub(crate) fn equal(mut self, field: &Field, value: &[u8]) -> Rule {
        self.load(field);
        self.compare(EQUAL, value);
        self
    }

    pub(crate) fn differs(mut self, field: &Field, value: &[u8]) -> Rule {
        self.load(field);
        self.compare(NOT_EQUAL, value);
        self
    }

    /// Any bit of `mask` is set in `field`.
    pub(crate) fn has_bits(mut self, field: &Field, mask: u32) -> Rule {
        self.load(field);
        self.expressions.push(Expression::Mask { mask: mask.to_ne_bytes().to_vec() });
        self.compare(NOT_EQUAL, &[0; 4]);
        self
    }

    /// `field`, an address, lies in `net`.
    pub(crate) fn within(self, field: &Field, net: ipnet::IpNet) -> Rule {
        self.masked(field, net, EQUAL)
    }

    /// `field`, an address, does not lie in `net`.
    pub(crate) fn outside(self, field: &Field, net: ipnet::IpNet) -> Rule {
        self.masked(field, net, NOT_EQUAL)
    }

    fn masked(mut self, field: &Field, net: ipnet::IpNet, operation: u32) -> Rule {
        self.load(field);
        self.expressions.push(Expression::Mask { mask: octets(net.netmask()) });
        self.compare(operation, &octets(net.network()));
        self
    }

    pub(crate) fn in_set(mut self, field: &Field, set: &str) -> Rule {
        self.load(field);
        let set = set.to_owned();
        self.expressions.push(Expression::Lookup { set, inverted: false, data: false });
        self
    }

    pub(crate) fn not_in_set(mut self, field: &Field, set: &str) -> Rule {
        self.load(field);
        let set = set.to_owned();
        self.expressions.push(Expression::Lookup { set, inverted: true, data: false });
        self
    }

    /// Sends the packet to the address and port that `map` has for `field`.
    pub(crate) fn translate_by(mut self, field: &Field, map: &str, address: IpAddr) -> Rule {
        self.load(field);
        let set = map.to_owned();
        self.expressions.push(Expression::Lookup { set, inverted: false, data: true });
        self.expressions.push(Expression::Translate { family: nfproto(address) });
        self
    }

    /// Sends the packet to this address and port.
    pub(crate) fn translate_to(mut self, address: Ipv4Addr, port: u16) -> Rule {
        self.expressions.push(Expression::Bytes(address.octets().to_vec(), REGISTER));
        self.expressions.push(Expression::Bytes(port.to_be_bytes().to_vec(), REGISTER + 1));
        self.expressions.push(Expression::Translate { family: nfproto(address.into()) });
        self
    }

    /// Gives the packet the address of the interface it leaves by.
    pub(crate) fn masquerade(mut self) -> Rule {
        self.expressions.push(Expression::Masquerade);
        self
    }

    /// Counts packets that got here, for whoever looks with `nft`.
    pub(crate) fn counted(mut self) -> Rule {
        self.expressions.push(Expression::Counter);
        self
    }

    /// Sends the frame out of another interface, by its index; for the `netdev` family.
    pub(crate) fn forward(mut self, index: u32) -> Rule {
        self.expressions.push(Expression::Number(index));
        self.expressions.push(Expression::Forward(REGISTER));
        self
    }

    pub(crate) fn then(mut self, verdict: Verdict) -> Rule {
        self.expressions.push(Expression::Verdict(verdict));
        self
    }

    pub(super) fn write(&self, list: &mut Message<'_>) {
        for expression in &self.expressions {
            // NFTA_LIST_ELEM: NFTA_EXPR_NAME, NFTA_EXPR_DATA
            list.nest(1, |message| {
                message.text(1, expression.name()).nest(2, |data| expression.write(data));
            });
        }
    }
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
pub(crate) fn nfproto(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Expression::Load(Load::Meta(..), _) => "meta",
            Expression::Load(Load::Payload(..), _) => "payload",
            Expression::Load(Load::Conntrack(..), _) => "ct",
            Expression::Load(Load::DestinationType, _) => "fib",
            Expression::Compare { .. } => "cmp",
            Expression::Mask { .. } => "bitwise",
            Expression::Lookup { .. } => "lookup",
            Expression::Verdict(_) => "immediate",
            Expression::Translate { .. } => "nat",
            Expression::Masquerade => "masq",
            Expression::Counter => "counter",
            Expression::Number(_) | Expression::Bytes(..) => "immediate",
            Expression::Forward(_) => "fwd",
        }
    }

    fn write(&self, data: &mut Message<'_>) {
        match self {
            Expression::Load(Load::Meta(key, _), register) => {
                data.be32(1, *register).be32(2, *key);
            }
            Expression::Load(Load::Payload(header, offset, length), register) => {
                data.be32(1, *register).be32(2, *header as u32).be32(3, *offset).be32(4, *length);
            }
            Expression::Load(Load::Conntrack(key, _), register) => {
                data.be32(1, *register).be32(2, *key);
            }
            Expression::Load(Load::DestinationType, register) => {
                const ADDRESS_TYPE: u32 = 3;
                const BY_DESTINATION: u32 = 2;
                data.be32(1, *register).be32(2, ADDRESS_TYPE).be32(3, BY_DESTINATION);
            }
            Expression::Compare { operation, value } => {
                data.be32(1, REGISTER).be32(2, *operation).nest(3, |inner| {
                    inner.bytes(1, value);
                });
            }
            Expression::Mask { mask } => {
                data.be32(1, REGISTER).be32(2, REGISTER).be32(3, mask.len() as u32);
                data.nest(4, |inner| {
                    inner.bytes(1, mask);
                });
                data.nest(5, |inner| {
                    inner.bytes(1, &vec![0; mask.len()]);
                });
            }
            Expression::Lookup { set, inverted, data: map } => {
                data.text(1, set).be32(2, REGISTER);
                if *map {
                    data.be32(3, REGISTER);
                }
                data.be32(5, u32::from(*inverted));
            }
            Expression::Verdict(verdict) => {
                data.be32(1, REGISTER_VERDICT).nest(2, |inner| {
                    inner.nest(2, |code| {
                        code.be32(1, u32::from(*verdict == Verdict::Accept));
                    });
                });
            }
            Expression::Translate { family } => {
                const DESTINATION: u32 = 1;
                const PORT_GIVEN: u32 = 2; // NF_NAT_RANGE_PROTO_SPECIFIED
                const ADDRESS_GIVEN: u32 = 1; // NF_NAT_RANGE_MAP_IPS
                let port = REGISTER + if *family == 2 { 1 } else { 4 };
                data.be32(1, DESTINATION)
                    .be32(2, u32::from(*family))
                    .be32(3, REGISTER)
                    .be32(5, port)
                    .be32(7, PORT_GIVEN | ADDRESS_GIVEN);
            }
            Expression::Number(number) => {
                data.be32(1, REGISTER).nest(2, |inner| {
                    inner.bytes(1, &number.to_ne_bytes());
                });
            }
            Expression::Bytes(bytes, register) => {
                data.be32(1, *register).nest(2, |inner| {
                    inner.bytes(1, bytes);
                });
            }
            // NFTA_FWD_SREG_DEV
            Expression::Forward(register) => {
                data.be32(1, *register);
            }
            Expression::Masquerade | Expression::Counter => {}
        }
    }
}
