//! The ends of a link as written: a text, or a map.

use super::words::{mac, prefix, vars};
use super::{End, Reader};
use crate::keys;
use crate::model::Endpoint;
use crate::parse::fields::{Fields, short, text};
use crate::yaml::{Node as Yaml, Value};

impl Reader<'_, '_, '_, '_> {
    /// As many as the link has; none when one of them cannot be.
    pub(super) fn ends(
        &mut self,
        fields: &Fields<'_>,
        item: &Value,
        wanted: usize,
    ) -> Option<Vec<End>> {
        let listed: Vec<&Value> = match (fields.get("endpoints"), fields.get("endpoint")) {
            (_, Some(entry)) if wanted == 1 => vec![&entry.value],
            (Some(entry), _) => match &entry.value.node {
                Yaml::List(items) => items.iter().map(|item| &**item).collect(),
                _ => {
                    self.report.error(
                        &entry.value.at,
                        format!("`endpoints` is a list, not {}", entry.value.describe()),
                    );
                    return None;
                }
            },
            _ => Vec::new(),
        };
        if listed.len() != wanted {
            let (text, hint) = if wanted == 2 {
                (
                    "has two `endpoints`",
                    "write `endpoints: [\"a:eth1\", \"b:eth1\"]`; for more than two, a LAN under `networks`",
                )
            } else {
                ("has one `endpoint`", "write `endpoint: {node: a, interface: eth1}`")
            };
            let at = fields.get("endpoints").map_or(&item.at, |entry| &entry.value.at);
            self.report.error_with(
                at,
                format!("a link of this type {text}, not {}", listed.len()),
                hint,
            );
            return None;
        }
        let mut ends: Vec<End> =
            listed.into_iter().map(|value| self.end(value)).collect::<Option<_>>()?;
        self.addresses(fields, &mut ends);
        Some(ends)
    }

    fn end(&mut self, value: &Value) -> Option<End> {
        let mut end = End {
            node: String::new(),
            endpoint: Endpoint { span: self.report.span(&value.at), ..Endpoint::default() },
            impair: None,
            at: value.at.clone(),
        };
        if let Yaml::Scalar { text, .. } = &value.node {
            let Some((node, interface)) = text.split_once(':') else {
                self.report.error_with(
                    &value.at,
                    format!("`{}` is no endpoint", short(text)),
                    "write `node:interface`",
                );
                return None;
            };
            end.node = node.trim().to_owned();
            end.endpoint.interface = interface.trim().to_owned();
        } else {
            let fields = Fields::read(value, "an endpoint", keys::ENDPOINT, self.report);
            let (Some(node), Some(interface)) = (fields.get("node"), fields.get("interface"))
            else {
                self.report.error_with(
                    &value.at,
                    "an endpoint has a `node` and an `interface`",
                    "write `{node: a, interface: eth1}`, or \"a:eth1\"",
                );
                return None;
            };
            end.node = text(&node.value, "node", self.report)?.to_owned();
            end.endpoint.interface = text(&interface.value, "interface", self.report)?.to_owned();
            end.endpoint.mac = fields.get("mac").and_then(|entry| {
                let mac = mac(entry, self.report)?;
                self.wiring.mac(mac, &entry.value.at, self.report);
                Some(mac)
            });
            end.endpoint.ipv4 =
                fields.get("ipv4").and_then(|entry| prefix(&entry.value, "ipv4", self.report));
            end.endpoint.ipv6 =
                fields.get("ipv6").and_then(|entry| prefix(&entry.value, "ipv6", self.report));
            end.endpoint.vars = vars(&fields, self.report);
            end.impair = fields.get("impair").map(|entry| std::rc::Rc::clone(&entry.value));
        }
        end.endpoint.node.clone_from(&end.node);
        Some(end)
    }

    /// `ipv4` and `ipv6` of the link: one or two prefixes, in the order of the endpoints.
    fn addresses(&mut self, fields: &Fields<'_>, ends: &mut [End]) {
        for key in ["ipv4", "ipv6"] {
            let Some(entry) = fields.get(key) else { continue };
            let values: Vec<&Value> = match &entry.value.node {
                Yaml::List(items) => items.iter().map(|item| &**item).collect(),
                _ => vec![&entry.value],
            };
            if values.len() > ends.len() {
                self.report.error(
                    &entry.value.at,
                    format!("`{key}` has {} addresses for {} ends", values.len(), ends.len()),
                );
                continue;
            }
            for (end, value) in ends.iter_mut().zip(values) {
                if value.is_null()
                    || matches!(&value.node, Yaml::Scalar { text, .. } if text.is_empty())
                {
                    continue;
                }
                let twice = if key == "ipv4" {
                    prefix(value, key, self.report).is_some_and(|net| {
                        end.endpoint.ipv4.replace(net).is_some_and(|before| before != net)
                    })
                } else {
                    prefix(value, key, self.report).is_some_and(|net| {
                        end.endpoint.ipv6.replace(net).is_some_and(|before| before != net)
                    })
                };
                if twice {
                    self.report.error_twice(
                        &value.at,
                        format!(
                            "`{key}` of `{}` is given twice, with different values",
                            end.endpoint.name()
                        ),
                        "given for the endpoint here",
                        &end.at,
                    );
                }
            }
        }
    }
}
