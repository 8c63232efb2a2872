//! Domain definitions as small trees, read under bounds, changed and written again.
//!
//! There is no document type, no entity but the five of XML itself, and so nothing that grows or opens a file.

use quick_xml::{Reader, events::Event};

/// Deepest nesting, and most elements of a definition.
const DEPTH: usize = 48;
const ELEMENTS: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no domain definition: {place}{reason}")]
pub struct XmlError {
    /// `line 2, column 5: `, or nothing where the whole is meant.
    place: String,
    reason: String,
}

fn wrong(reason: impl std::fmt::Display) -> XmlError {
    XmlError { place: String::new(), reason: reason.to_string() }
}

impl XmlError {
    /// The error with the place, in characters, of the byte `offset`.
    fn at(self, text: &str, offset: u64) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let before = String::from_utf8_lossy(&text.as_bytes()[..offset]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { place: format!("line {line}, column {column}: "), ..self }
    }
}

/// An element with all that is in it, names with their prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    /// All its own text, joined.
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    pub(crate) fn new(name: &str, attributes: &[(&str, &str)]) -> Self {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Self { name: name.to_owned(), attributes: attributes.collect(), ..Self::default() }
    }

    pub(crate) fn with_text(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), ..Self::default() }
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child of this name, added when there is none.
    pub(crate) fn child_mut(&mut self, name: &str) -> &mut Element {
        let at = match self.children.iter().position(|child| child.name == name) {
            Some(at) => at,
            None => {
                self.children.push(Self::new(name, &[]));
                self.children.len() - 1
            }
        };
        &mut self.children[at]
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.children.retain(|child| child.name != name);
    }

    /// Puts a child in the place of all of its name.
    pub(crate) fn put(&mut self, child: Element) {
        self.remove(&child.name);
        self.children.push(child);
    }

    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.attributes.retain(|(own, _)| own != name);
        self.attributes.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn write(&self) -> String {
        let mut text = String::new();
        self.append(&mut text);
        text
    }

    fn append(&self, to: &mut String) {
        to.push('<');
        to.push_str(&self.name);
        for (name, value) in &self.attributes {
            to.push(' ');
            to.push_str(name);
            to.push_str("='");
            escape(value, to);
            to.push('\'');
        }
        if self.text.trim().is_empty() && self.children.is_empty() {
            to.push_str("/>");
            return;
        }
        to.push('>');
        if !self.text.trim().is_empty() {
            escape(&self.text, to);
        }
        for child in &self.children {
            child.append(to);
        }
        to.push_str("</");
        to.push_str(&self.name);
        to.push('>');
    }
}

fn escape(text: &str, to: &mut String) {
    for character in text.chars() {
        match character {
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '&' => to.push_str("&amp;"),
            '\'' => to.push_str("&apos;"),
            '"' => to.push_str("&quot;"),
            '\n' | '\t' | '\r' => to.push_str(&format!("&#{};", u32::from(character))),
            other => to.push(other),
        }
    }
}

/// Reads a definition: one element `domain` with all that is in it.
///
/// # Errors
/// When it is none, or beyond the bounds.
pub(crate) fn read(text: &str) -> Result<Element, XmlError> {
    let root = tree(text)?;
    if root.name != "domain" {
        return Err(wrong(format!("it begins with `{}`, not with `domain`", root.name)));
    }
    Ok(root)
}

/// Reads any document.
pub(crate) fn tree(text: &str) -> Result<Element, XmlError> {
    let mut reader = Reader::from_str(text);
    let mut building = Building::default();
    loop {
        let at = reader.buffer_position();
        let event = reader.read_event().map_err(wrong);
        match event.and_then(|event| building.add(event)) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error.at(text, at)),
        }
    }
    match building.root {
        Some(root) if building.open.is_empty() => Ok(root),
        _ => Err(wrong("it ends in the middle").at(text, text.len() as u64)),
    }
}

/// A tree as far as it has been read.
#[derive(Default)]
struct Building {
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl Building {
    /// Takes one more piece; whether more may come.
    fn add(&mut self, event: Event<'_>) -> Result<bool, XmlError> {
        match event {
            Event::Start(start) => self.begin(element(&start)?)?,
            Event::Empty(start) => {
                self.begin(element(&start)?)?;
                self.end()?;
            }
            Event::End(_) => self.end()?,
            Event::Text(text) => add(&mut self.open, &text.xml10_content()),
            Event::CData(text) => add(&mut self.open, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let one = match reference.resolve_char_ref().map_err(wrong)? {
                    Some(one) => one,
                    None => predefined(&reference.xml10_content())?,
                };
                add(&mut self.open, one.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(wrong("it has a document type, which none needs")),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof => return Ok(false),
        }
        Ok(true)
    }

    fn begin(&mut self, begun: Element) -> Result<(), XmlError> {
        self.elements += 1;
        if self.open.len() >= DEPTH || self.elements > ELEMENTS {
            return Err(wrong(format!(
                "it is nested deeper than {DEPTH} elements, or has more than {ELEMENTS}"
            )));
        }
        if self.root.is_some() {
            return Err(wrong(format!("`{}` stands after the end", begun.name)));
        }
        self.open.push(begun);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let whole = self.open.pop().ok_or_else(|| wrong("an end without a begin"))?;
        match self.open.last_mut() {
            Some(around) => around.children.push(whole),
            None => self.root = Some(whole),
        }
        Ok(())
    }
}

fn add(open: &mut [Element], text: &str) {
    // Text outside of all elements is white space, or a syntax error that libvirt is not shown.
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, XmlError> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(wrong)?;
        attributes.push((attribute.key.as_ref().to_owned(), unescape(&attribute.value)?));
    }
    Ok(Element { name: start.name().as_ref().to_owned(), attributes, ..Element::default() })
}

fn unescape(text: &str) -> Result<String, XmlError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) =
            after.split_once(';').ok_or_else(|| wrong("an ampersand that begins no entity"))?;
        plain.push_str(before);
        plain.push(match name.strip_prefix('#') {
            Some(number) => {
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                let code = code.ok().and_then(char::from_u32);
                code.ok_or_else(|| wrong(format!("`&{name};` is no character")))?
            }
            None => predefined(name)?,
        });
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

fn predefined(name: &str) -> Result<char, XmlError> {
    Ok(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => {
            return Err(wrong(format!("it has the entity `&{name};`, which is not of XML itself")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_definition_is_read_changed_and_written() {
        let text = "<?xml version='1.0'?><!-- c --><domain type=\"qemu\"><name>a &amp; b</name>\n <devices>\
                    <disk x='1 &lt; 2'/></devices></domain>";
        let mut root = read(text).unwrap();
        assert_eq!(root.text_of("name"), Some("a & b"));
        root.put(Element::with_text("name", "it's"));
        root.child_mut("devices").children.push(Element::new("console", &[("type", "pty")]));
        assert_eq!(
            root.write(),
            "<domain type='qemu'><devices><disk x='1 &lt; 2'/><console type='pty'/></devices>\
             <name>it&apos;s</name></domain>"
        );
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        let deep = "<a>".repeat(100);
        for text in [
            "",
            "<domain>",
            "<network/>",
            "<domain/><domain/>",
            "<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>",
            "<domain>&a;</domain>",
            "<domain a='&x;'/>",
            &deep,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_says_where_it_is() {
        for (text, place) in [
            ("<domain>\n  <name>\u{e9}x</nome>\n</domain>", "line 2, column 11: "),
            ("<domain>\n<a b='&x;'/></domain>", "line 2, column 1: "),
            ("<domain>\n", "line 2, column 1: "),
            ("<domain/>\n <more/>", "line 2, column 2: "),
        ] {
            assert_eq!(read(text).unwrap_err().place, place, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(name in "[a-z]{1,8}", value in "\\PC{0,40}", text in "[!-~]{0,40}") {
            let mut root = Element::new("domain", &[("v", &value)]);
            root.children.push(Element::with_text(&name, &text));
            let again = read(&root.write()).unwrap();
            prop_assert_eq!(again, root);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[<>/&;'= a-z!\\[\\]-]{0,80}") {
            // Most of it is no definition, and that is all that may happen.
            let _ = read(&text);
        }
    }
}
