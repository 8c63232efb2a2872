//! The `.instance` file: which program answers what.

use std::collections::HashMap;

use crate::{
    ini::{Document, Section, Value},
    names,
};

use super::{
    Read,
    finding::{Finding, Invalid, settle},
    settings::{Operation, SandboxKind, Settings},
};

/// What an instance file says. Two are equal when they mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The component's name on the bus.
    pub name: String,
    /// Run on activation, before the names are claimed.
    pub start: Option<Command>,
    /// Run on deactivation, before the names are released.
    pub stop: Option<Command>,
    pub models: Vec<Model>,
    pub settings: Settings,
}

/// One model: a name on the bus with its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub name: String,
    pub check: Option<Command>,
    pub set: Option<Command>,
    pub get: Option<Command>,
    pub state: Option<Command>,
    pub rpcs: Vec<Rpc>,
    /// Those of the component included.
    pub settings: Settings,
}

/// One RPC of a YANG module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    pub module: String,
    pub name: String,
    pub command: Command,
}

impl Rpc {
    /// Its key in the instance file.
    pub fn key(&self) -> String {
        format!("RPC/{}/{}", self.module, self.name)
    }
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Never empty; its first may be, and then nothing can be run.
    pub argv: Vec<String>,
}

impl Command {
    /// Splits at every single blank. No shell, no quotes, no escapes: two blanks make an empty argument.
    pub fn split(value: &str) -> Self {
        Self { argv: value.split(' ').map(str::to_owned).collect() }
    }
}

impl Instance {
    /// Reads an instance file.
    ///
    /// # Errors
    /// With everything that was found, when the file is refused.
    pub fn read(bytes: &[u8]) -> Result<Read<Self>, Invalid> {
        let document = Document::read(bytes)?;
        let mut reader = Reader {
            document: &document,
            findings: document.warnings.iter().cloned().map(Into::into).collect(),
        };
        let instance = reader.instance();
        settle(instance, reader.findings)
    }

    /// Every name the component owns when it is active, models first.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        if !names.contains(&self.name.as_str()) {
            names.push(&self.name);
        }
        names
    }
}

struct Reader<'a> {
    document: &'a Document,
    findings: Vec<Finding>,
}

const MODEL_KEYS: [Operation; 4] =
    [Operation::Check, Operation::Set, Operation::Get, Operation::State];

impl<'a> Reader<'a> {
    fn error(&mut self, line: usize, text: impl Into<String>) {
        self.findings.push(Finding::error(line, text));
    }

    fn warn(&mut self, line: usize, text: impl Into<String>) {
        self.findings.push(Finding::warning(line, text));
    }

    fn instance(&mut self) -> Instance {
        let mut instance = Instance {
            name: String::new(),
            start: None,
            stop: None,
            models: Vec::new(),
            settings: Settings::default(),
        };
        let Some(component) = self.document.section("Component") else {
            self.error(0, "there is no section `[Component]`");
            return instance;
        };
        self.component(component, &mut instance);
        let mut defined = HashMap::new();
        for section in self.document.sections() {
            let Some(name) = self.model_name(section) else { continue };
            if let Some(line) = defined.insert(name.to_owned(), section.line) {
                self.error(
                    section.line,
                    format!("model `{name}` was there before, in line {line}"),
                );
            }
            let model = self.model(section, name, &instance.settings);
            instance.models.push(model);
        }
        self.collisions(&instance);
        instance
    }

    fn component(&mut self, section: &'a Section, instance: &mut Instance) {
        for key in section.keys() {
            let value = self.document.own(section, key);
            match key.name.as_str() {
                "Name" => instance.name = value.text.clone(),
                "Start" => instance.start = self.command(&value),
                "Stop" => instance.stop = self.command(&value),
                name if name.starts_with("X-") => self.setting(&value, &mut instance.settings),
                name => self.unknown(&value, name, &["Name", "Start", "Stop"]),
            }
        }
        if instance.name.is_empty() {
            self.error(section.line, "the component has no `Name`");
        } else if !names::is_bus_name(&instance.name) {
            self.error(section.line, format!("`{}` is no name the bus allows", instance.name));
        }
    }

    /// The name of a model's section; warns about sections that are none and look like it.
    fn model_name(&mut self, section: &'a Section) -> Option<&'a str> {
        let mut pieces = section.name.split(' ');
        match (pieces.next(), pieces.next(), pieces.next()) {
            (Some("Model"), Some(name), None) if !name.is_empty() => {
                if !names::is_bus_name(name) {
                    self.error(section.line, format!("`{name}` is no name the bus allows"));
                }
                Some(name)
            }
            (Some("Model"), Some(_), _) => {
                let text =
                    format!("`[{}]` does not name one model: write `[Model NAME]`", section.name);
                self.error(section.line, text);
                None
            }
            _ => {
                if section.name != "Component"
                    && (section.line > 0 || section.keys().next().is_some())
                {
                    let text = if section.line == 0 || section.name == "DEFAULT" {
                        // Keys that only other values refer to.
                        return None;
                    } else {
                        format!("section `[{}]` means nothing here", section.name)
                    };
                    self.warn(section.line, text);
                }
                None
            }
        }
    }

    fn model(&mut self, section: &'a Section, name: &str, component: &Settings) -> Model {
        let mut settings = Settings::default();
        let mut rpcs = Vec::new();
        for key in section.keys() {
            let value = self.document.own(section, key);
            let known = MODEL_KEYS.iter().any(|operation| operation.word() == key.name);
            if known {
                continue;
            }
            if key.name.starts_with("X-") {
                self.setting(&value, &mut settings);
            } else if key.name.starts_with("RPC/") {
                rpcs.extend(self.rpc(&value));
            } else {
                self.unknown(&value, &key.name, &MODEL_KEYS.map(Operation::word));
            }
        }
        let mut commands = MODEL_KEYS.map(|operation| {
            let value = self.document.get(section, operation.word())?;
            if value.inherited {
                let text = format!(
                    "`{operation}` comes from line {}, by the model's name",
                    value.key.line
                );
                self.warn(section.line, text);
            }
            if value.text.is_empty() {
                self.warn(
                    value.key.line,
                    format!("`{operation}` names no program: as if it were not there"),
                );
                return None;
            }
            self.command(&value)
        });
        let settings = settings.over(component);
        if settings.writable.is_some() && settings.sandbox() == SandboxKind::None {
            let text =
                "`X-Writable` without `X-Sandbox=strict` means nothing: everything can be written";
            self.warn(section.line, text);
        }
        let mut take = |at: usize| commands[at].take();
        Model {
            name: name.to_owned(),
            check: take(0),
            set: take(1),
            get: take(2),
            state: take(3),
            rpcs,
            settings,
        }
    }

    fn rpc(&mut self, value: &Value<'_>) -> Option<Rpc> {
        let (key, line) = (&value.key.name, value.key.line);
        let parts: Vec<&str> = key.split('/').collect();
        let [_, module, name] = parts[..] else {
            self.warn(line, format!("`{key}` is not `RPC/MODULE/NAME`: it means nothing"));
            return None;
        };
        if let Some(reason) = names::unusable(module, name) {
            self.error(line, format!("`{key}` cannot be called: {reason}"));
        }
        if value.text.is_empty() {
            self.warn(line, format!("`{key}` names no program: every call will fail"));
        }
        let command = self.command(value).unwrap_or_else(|| Command::split(""));
        Some(Rpc { module: module.to_owned(), name: name.to_owned(), command })
    }

    fn command(&mut self, value: &Value<'_>) -> Option<Command> {
        let line = value.key.line;
        if let Some(cut) = &value.key.cut {
            self.warn(
                line,
                format!("the command ends before `{}`, which is a comment", shorten(cut)),
            );
        }
        if value.text.contains(['"', '\'', '\t', '$', '*']) {
            self.warn(line, "quotes, tabs, `$` and `*` are given to the program as they stand: there is no shell");
        }
        if value.text.contains("  ") {
            self.warn(line, "two blanks in a row make an empty argument");
        }
        (!value.text.is_empty()).then(|| Command::split(&value.text))
    }

    fn setting(&mut self, value: &Value<'_>, settings: &mut Settings) {
        match settings.take(&value.key.name, &value.text) {
            Ok(true) => {}
            Ok(false) => self.unknown(value, &value.key.name, &[]),
            // A limit that is not understood must not be taken for none.
            Err(reason) => self.error(value.key.line, reason),
        }
    }

    fn unknown(&mut self, value: &Value<'_>, name: &str, known: &[&str]) {
        let line = value.key.line;
        if value.key.colon {
            self.warn(
                line,
                format!("the key ends at the `:`, so it is `{name}`: it means nothing"),
            );
        } else if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            self.warn(line, format!("`{name}` means nothing: is `{meant}` meant?"));
        } else if name.to_ascii_lowercase().starts_with("rpc/") {
            self.warn(line, format!("`{name}` means nothing: is `RPC/` meant?"));
        } else {
            self.warn(line, format!("key `{name}` means nothing here"));
        }
    }

    /// Two RPCs of a model that are one member on the bus.
    fn collisions(&mut self, instance: &Instance) {
        for model in &instance.models {
            let mut members = HashMap::new();
            for rpc in &model.rpcs {
                let member = (names::rpc_path(&rpc.module), names::camel(&rpc.name));
                let interface = names::rpc_interface(&rpc.module);
                if let Some(other) = members.insert((member, interface), rpc.key()) {
                    let text = format!("`{}` and `{other}` are the same on the bus", rpc.key());
                    let line = self.line_of(&model.name, &rpc.key());
                    self.error(line, text);
                }
            }
        }
    }

    fn line_of(&self, model: &str, key: &str) -> usize {
        let section = self.document.section(&format!("Model {model}"));
        let key = section.and_then(|section| section.keys().find(|k| k.name == key));
        key.map_or(0, |key| key.line)
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(20).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
