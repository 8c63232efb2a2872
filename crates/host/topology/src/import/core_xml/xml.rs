//! CORE's XML as a small tree of elements and attributes with their places. Their text is not kept: scripts and templates
//! of services are in it, and nothing of nodes and links.
//!
//! There is no document type, no entity but the five of XML itself, and so nothing that grows or opens a file.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, escape};

use crate::report::{At, Report};

/// Deepest nesting, and most elements of a file.
const DEPTH: usize = 32;
const ELEMENTS: usize = 400_000;

#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    /// Of its beginning.
    pub(super) at: At,
    pub(super) attributes: Vec<Attribute>,
    pub(super) children: Vec<Element>,
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: String,
    /// Of its value.
    pub(super) at: At,
}

impl Element {
    pub(super) fn child(&self, names: &[&str]) -> Option<&Element> {
        self.children.iter().find(|child| names.contains(&child.name.as_str()))
    }

    /// The first attribute of one of these names that is not empty.
    pub(super) fn get(&self, names: &[&str]) -> Option<&Attribute> {
        let of = |name: &&str| self.attributes.iter().find(|own| own.name == *name);
        names.iter().filter_map(of).find(|own| !own.value.is_empty())
    }
}

/// Reads a document; `None`, and an error, when it is none.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<Element> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        let from = place(reader.buffer_position(), text);
        let event = reader.read_event();
        let at = from..place(reader.buffer_position(), text).max(from + 1);
        let (begun, empty) = match event {
            Err(error) => {
                let at = place(reader.error_position(), text);
                report.error(&(at..at + 1), format!("this is no XML: {error}"));
                return None;
            }
            Ok(Event::Start(start)) => (start, false),
            Ok(Event::Empty(start)) => (start, true),
            Ok(Event::End(_)) => {
                close(&mut open, &mut root);
                continue;
            }
            Ok(Event::DocType(_)) => {
                report.error(&at, "the file has a document type, which no file of CORE's has");
                return None;
            }
            Ok(Event::Eof) => break,
            Ok(_) => continue,
        };
        elements += 1;
        if open.len() >= DEPTH || elements > ELEMENTS {
            let text = format!("more than {ELEMENTS} elements, or nested deeper than {DEPTH}");
            report.error(&at, text);
            return None;
        }
        if root.is_some() {
            report.error(&at, "an element stands after the end");
            return None;
        }
        open.push(element(&begun, at, text, report)?);
        if empty {
            close(&mut open, &mut root);
        }
    }
    if root.is_none() || !open.is_empty() {
        report.error(&(text.len().saturating_sub(1)..text.len()), "the file ends in the middle");
        return None;
    }
    root
}

fn place(offset: u64, text: &str) -> usize {
    usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()))
}

fn close(open: &mut Vec<Element>, root: &mut Option<Element>) {
    // The reader has seen to it that every end has its beginning.
    let Some(whole) = open.pop() else { return };
    match open.last_mut() {
        Some(around) => around.children.push(whole),
        None => *root = Some(whole),
    }
}

fn element(begun: &BytesStart<'_>, at: At, text: &str, report: &mut Report<'_>) -> Option<Element> {
    let mut attributes = Vec::new();
    for attribute in begun.attributes() {
        let attribute = match attribute {
            Ok(attribute) => attribute,
            Err(error) => {
                report.error(&at, format!("this is no XML: {error}"));
                return None;
            }
        };
        let raw: &str = &attribute.value;
        // What is read from a text is a part of it.
        let from = (raw.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let from = from.filter(|from| from + raw.len() <= text.len());
        let place = from.map_or(at.clone(), |from| from..from + raw.len().max(1));
        let Ok(value) = escape::unescape(raw) else {
            report.error(&place, "an ampersand that begins no entity of XML's");
            return None;
        };
        let name: &str = attribute.key.as_ref();
        attributes.push(Attribute { name: name.to_owned(), value: value.into_owned(), at: place });
    }
    let name = begun.name();
    let name: &str = name.as_ref();
    Some(Element { name: name.to_owned(), at, attributes, children: Vec::new() })
}
