//! JSON Schema of the configuration file, for editors.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Kind};

/// The JSON Schema (draft 7) of `agent.toml`.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = object(keys::TOP);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("vnode-agent configuration");
    schema["description"] =
        json!("/etc/vnode/agent.toml and the drop-ins in /etc/vnode/agent.d/ of the guest agent.");
    let mut channel = object(keys::CHANNEL);
    channel["required"] = json!(["name"]);
    schema["properties"]["log"] = object(keys::LOG);
    schema["properties"]["plugins"] = object(keys::PLUGINS);
    schema["properties"]["boot"] = object(keys::BOOT);
    schema["properties"]["channel"] = json!({"type": "array", "items": channel});
    schema["properties"]["command"] = json!({
        "type": "object",
        "description": "Settings of single commands: `[command.NAME]`.",
        "additionalProperties": {"type": "object"},
    });
    schema
}

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn property(key: &Key) -> Value {
    let whole = |low, high| json!({"type": "integer", "minimum": low, "maximum": high});
    let mut property = match key.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer(low, high) => whole(low, high),
        Kind::Integers(low, high) => json!({"type": "array", "items": whole(low, high)}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
    };
    property["description"] = if key.of.is_empty() {
        json!(key.doc)
    } else {
        json!(format!("{} Exchange {}.", key.doc, key.of.join(", ")))
    };
    property
}
