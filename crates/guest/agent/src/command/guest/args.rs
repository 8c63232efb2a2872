//! The arguments of a guest command, checked as QAPI checks them: every member in its order, then that none is left.

use serde_json::{Map, Value};

use crate::command::CommandError;

/// Arguments not yet taken.
#[derive(Default)]
pub(crate) struct Args {
    members: Map<String, Value>,
    /// What the members stand in, as texts name it: `vcpus[0].`.
    within: String,
}

impl Args {
    /// `arguments` of a request: an object, or nothing.
    pub(crate) fn new(value: Value) -> Result<Self, CommandError> {
        match value {
            Value::Object(members) => Ok(Self { members, within: String::new() }),
            Value::Null => Ok(Self::default()),
            _ => Err(CommandError::invalid("QMP input member 'arguments' must be an object")),
        }
    }

    fn wrong(&self, name: &str, expected: &str) -> CommandError {
        wrong_type(&format!("{}{name}", self.within), expected)
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, CommandError> {
        value.ok_or_else(|| {
            CommandError::invalid(format!("Parameter '{}{name}' is missing", self.within))
        })
    }

    pub(crate) fn opt_int(&mut self, name: &str) -> Result<Option<i64>, CommandError> {
        let Some(value) = self.members.remove(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "integer"))
    }

    pub(crate) fn int(&mut self, name: &str) -> Result<i64, CommandError> {
        let value = self.opt_int(name)?;
        self.required(name, value)
    }

    pub(crate) fn opt_bool(&mut self, name: &str) -> Result<Option<bool>, CommandError> {
        let Some(value) = self.members.remove(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, "boolean"))
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<bool, CommandError> {
        let value = self.opt_bool(name)?;
        self.required(name, value)
    }

    pub(crate) fn opt_text(&mut self, name: &str) -> Result<Option<String>, CommandError> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "string")),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String, CommandError> {
        let value = self.opt_text(name)?;
        self.required(name, value)
    }

    /// A word out of a list.
    pub(crate) fn opt_word<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, CommandError> {
        let Some(given) = self.opt_text(name)? else { return Ok(None) };
        self.word_of(name, &given, words).map(Some)
    }

    fn word_of<T: Copy>(
        &self,
        name: &str,
        given: &str,
        words: &[(&str, T)],
    ) -> Result<T, CommandError> {
        words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
            CommandError::invalid(format!(
                "Parameter '{}{name}' does not accept value '{given}'",
                self.within
            ))
        })
    }

    /// What may be of another type or a word: the type's own reading first; `alternate` is QAPI's name for both.
    pub(crate) fn opt_either<T: Copy>(
        &mut self,
        name: &str,
        alternate: &str,
        other: impl FnOnce(&Value) -> Option<T>,
        words: &[(&str, T)],
    ) -> Result<Option<T>, CommandError> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(Value::String(given)) => self.word_of(name, &given, words).map(Some),
            Some(value) => other(&value).map(Some).ok_or_else(|| self.wrong(name, alternate)),
        }
    }

    /// [`Self::opt_either`] that must be there.
    pub(crate) fn either<T: Copy>(
        &mut self,
        name: &str,
        alternate: &str,
        other: impl FnOnce(&Value) -> Option<T>,
        words: &[(&str, T)],
    ) -> Result<T, CommandError> {
        let value = self.opt_either(name, alternate, other, words)?;
        self.required(name, value)
    }

    fn opt_list(&mut self, name: &str) -> Result<Option<Vec<Value>>, CommandError> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.wrong(name, "array")),
        }
    }

    pub(crate) fn opt_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, CommandError> {
        let Some(items) = self.opt_list(name)? else { return Ok(None) };
        let text = |(index, item)| match item {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(&format!("{name}[{index}]"), "string")),
        };
        items.into_iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, CommandError> {
        let value = self.opt_texts(name)?;
        self.required(name, value)
    }

    /// A list of objects; each is to be finished by the caller.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>, CommandError> {
        let items = self.opt_list(name)?;
        let items = self.required(name, items)?;
        let object = |(index, item)| match item {
            Value::Object(members) => {
                Ok(Self { members, within: format!("{}{name}[{index}].", self.within) })
            }
            _ => Err(self.wrong(&format!("{name}[{index}]"), "object")),
        };
        items.into_iter().enumerate().map(object).collect()
    }

    /// Says that nothing more is expected.
    pub(crate) fn finish(self) -> Result<(), CommandError> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(CommandError::invalid(format!(
                "Parameter '{}{name}' is unexpected",
                self.within
            ))),
        }
    }
}

fn wrong_type(name: &str, expected: &str) -> CommandError {
    CommandError::invalid(format!("Invalid parameter type for '{name}', expected: {expected}"))
}
