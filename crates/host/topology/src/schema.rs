//! JSON Schema of the file, for editors: made from the tables the reader checks files against.

use serde_json::{Map, Value, json};
use vnode_protocol::impairment;

use crate::keys::{self, Acted, Key, Shape};

/// The JSON Schema of a topology file (draft 7, which editors' YAML support knows best).
pub fn json_schema() -> Value {
    let mut schema = object(keys::TOP);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("vnode topology");
    schema["description"] = json!(
        "A lab of virtual nodes: containerlab's topology file with vnode's additions (`impair`, \
         `networks`, `events`, `resources`, `backend`, `agent`)."
    );
    schema["required"] = json!(["name", "topology"]);
    schema["properties"]["topology"]["required"] = json!(["nodes"]);
    schema["definitions"] = json!({
        "node": nullable(object(keys::NODE)),
        "link": object(keys::LINK),
        "endpoint": endpoint(keys::ENDPOINT),
        "member": endpoint(keys::MEMBER),
        "network": object(keys::NETWORK),
        "event": event(),
        "impairment": impairment_schema(),
        "stage-exec": {
            "anyOf": [
                {"type": "array", "items": object(keys::STAGE_EXEC)},
                object(keys::STAGE_EXEC_OLD),
            ]
        },
    });
    sorted(schema)
}

/// With keys in the order of the alphabet, whatever order the JSON library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|(first, _), (second, _)| first.cmp(second));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// A map with these keys; deprecated underscore forms are taken by the reader but not offered.
fn object(table: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in table {
        let mut property = shape(key.name, key.shape);
        let (doc, deprecated) = match key.acted {
            Acted::Yes => (key.doc.to_owned(), false),
            Acted::Ours => (format!("{} (vnode)", key.doc), false),
            Acted::No(why) => (format!("{} Not acted on by vnode: {why}.", key.doc), true),
        };
        // Beside `$ref`, draft 7 heeds nothing; the reference is wrapped.
        if property.get("$ref").is_some() {
            property = json!({"allOf": [property]});
        }
        property["description"] = json!(doc);
        if deprecated {
            property["deprecated"] = json!(true);
        }
        properties.insert(key.name.to_owned(), property);
    }
    json!({"type": "object", "properties": properties})
}

fn shape(name: &str, shape: Shape) -> Value {
    let list = |item: Value| json!({"type": "array", "items": item});
    let map = |item: Value| nullable(json!({"type": "object", "additionalProperties": item}));
    let word = json!({"type": ["string", "number", "boolean", "null"]});
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Word => json!({"type": ["string", "number"]}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Number => json!({"type": "number", "exclusiveMinimum": 0}),
        Shape::Count => json!({"type": "integer", "minimum": 0}),
        Shape::TextList => list(json!({"type": ["string", "number"]})),
        Shape::TextMap => map(word),
        Shape::OneOf(words) => json!({"enum": words}),
        Shape::Table(table) => nullable(object(table)),
        Shape::Nodes => map(json!({"$ref": "#/definitions/node"})),
        Shape::Node => json!({"$ref": "#/definitions/node"}),
        Shape::Links => list(json!({"$ref": "#/definitions/link"})),
        Shape::Networks => map(json!({"$ref": "#/definitions/network"})),
        Shape::Members => list(json!({"$ref": "#/definitions/member"})),
        Shape::Events => list(json!({"$ref": "#/definitions/event"})),
        Shape::Impairment => json!({"$ref": "#/definitions/impairment"}),
        Shape::Endpoint => json!({"$ref": "#/definitions/endpoint"}),
        Shape::Endpoints => json!({
            "type": "array",
            "items": {"$ref": "#/definitions/endpoint"},
            "minItems": 1,
            "maxItems": 2,
        }),
        Shape::Prefixes => json!({
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": ["string", "null"]}, "maxItems": 2},
            ]
        }),
        Shape::StageExec => json!({"$ref": "#/definitions/stage-exec"}),
        Shape::Anything if name == "wait-for" => list(object(keys::WAIT_FOR)),
        Shape::Anything if name == "preconfig" => {
            list(json!({"anyOf": [{"type": "string"}, object(keys::PRECONFIG)]}))
        }
        Shape::Anything if name == "placement" => {
            json!({"anyOf": [{"type": "string"}, object(keys::PLACEMENT)]})
        }
        Shape::Anything => json!({}),
    }
}

/// `node:interface`, or a map.
fn endpoint(table: &[Key]) -> Value {
    let mut map = object(table);
    map["required"] = json!(["node", "interface"]);
    json!({"anyOf": [{"type": "string", "pattern": "^[^:]+:[^:]+$"}, map]})
}

fn event() -> Value {
    let mut event = object(keys::EVENT);
    event["required"] = json!(["at"]);
    event
}

fn impairment_schema() -> Value {
    let mut properties = Map::new();
    for key in impairment::KEYS {
        let (doc, example) = match *key {
            "rate" => ("Bits per second: bit, kbit, mbit, gbit.", "100mbit"),
            "delay" => ("One-way delay: us, ms, s.", "10ms"),
            "jitter" => ("Deviation of the delay: us, ms, s.", "1ms"),
            "distribution" => ("Shape of the jitter: uniform or normal.", "normal"),
            "delay-correlation" => ("Correlation of successive delays.", "25%"),
            "loss" => (
                "Frames lost, with `%`; in bursts as `gemodel P [R [1-H [1-K]]]`, as netem has it.",
                "0.1%",
            ),
            "loss-correlation" => ("Correlation of successive losses.", "25%"),
            "duplicate-correlation" => ("Correlation of successive duplicates.", "25%"),
            "reorder-correlation" => ("Correlation of successive reorderings.", "25%"),
            "corrupt-correlation" => ("Correlation of successive corruptions.", "25%"),
            "aqm" => (
                "How the queue is kept short: red, codel, fq-codel, pie or none; needs a rate.",
                "codel",
            ),
            "duplicate" => ("Frames sent twice, with `%`.", "0.1%"),
            "reorder" => ("Frames that overtake others, with `%`; needs a delay.", "1%"),
            "corrupt" => ("Frames with a flipped bit, with `%`.", "0.01%"),
            "queue" => {
                ("Queue before the bottleneck: packets, or bytes with kb, kib, mb, mib.", "50")
            }
            _ => ("The same as a ratio from 0 to 1.", "0.001"),
        };
        properties.insert(
            (*key).to_owned(),
            json!({"type": ["string", "number"], "description": doc, "examples": [example]}),
        );
    }
    json!({
        "anyOf": [
            {"const": "none"},
            {"type": "object", "properties": properties, "additionalProperties": false},
        ]
    })
}

/// The same, or nothing.
fn nullable(schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some(kind) => {
            let kind = kind.to_owned();
            let mut schema = schema;
            schema["type"] = json!([kind, "null"]);
            schema
        }
        None => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}
