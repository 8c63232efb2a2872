//! XML as small trees, read under bounds: answers of the server, and OVF descriptors.
//!
//! There is no document type, no entity but the five of XML itself, and so nothing that grows or opens a file.

use quick_xml::{Reader, events::Event};
use thiserror::Error;

/// Deepest nesting.
const DEPTH: usize = 32;
/// Most elements of one tree.
const ELEMENTS: usize = 50_000;

/// Why a text is not read as XML.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum XmlError {
    #[error("no XML: {reason}")]
    Syntax { reason: String },
    #[error("the XML has a document type, which nothing here needs")]
    DocumentType,
    #[error("the XML has the entity `&{name};`, which is not of XML itself")]
    Entity { name: String },
    #[error("the XML is nested deeper than {DEPTH} elements, or has more than {ELEMENTS} of them")]
    TooLarge,
    #[error("the XML ends in the middle")]
    Truncated,
    #[error("the XML lacks {what}")]
    Lacks { what: String },
}

/// An element with all that is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Without a prefix.
    pub name: String,
    /// Names without their prefixes.
    pub attributes: Vec<(String, String)>,
    /// All its own text, joined.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Text of the first child of this name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A number in the first child of this name.
    ///
    /// # Errors
    /// When it is not there or no number.
    pub(crate) fn number(&self, name: &str) -> Result<i64, XmlError> {
        self.text_of(name).and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            XmlError::Lacks { what: format!("a number `{name}` in `{}`", self.name) }
        })
    }
}

/// Reads a whole document.
///
/// # Errors
/// When it is none, or beyond the bounds.
pub fn read(text: &str) -> Result<Element, XmlError> {
    let mut root = None;
    walk(text, 0, |element| {
        root = Some(element);
        Ok(())
    })?;
    root.ok_or(XmlError::Truncated)
}

/// Reads a document and gives each child of its root by itself, so that a long list is never whole in memory.
///
/// # Errors
/// As [`read`], for each child; or what `each` says.
pub fn each_child(
    text: &str,
    each: impl FnMut(Element) -> Result<(), XmlError>,
) -> Result<(), XmlError> {
    walk(text, 1, each)
}

/// Gives every element that is complete at `level` (0: the root).
fn walk(
    text: &str,
    level: usize,
    mut each: impl FnMut(Element) -> Result<(), XmlError>,
) -> Result<(), XmlError> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut elements = 0;
    let mut seen_root = false;
    loop {
        let event =
            reader.read_event().map_err(|error| XmlError::Syntax { reason: error.to_string() })?;
        match event {
            Event::Start(start) | Event::Empty(start) if open.is_empty() && seen_root => {
                let name = start.name();
                return Err(XmlError::Syntax {
                    reason: format!("`{}` stands after the end", name_of(name.as_ref())),
                });
            }
            Event::Start(start) => {
                elements += 1;
                if open.len() >= DEPTH || elements > ELEMENTS {
                    return Err(XmlError::TooLarge);
                }
                seen_root = true;
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                elements += 1;
                if open.len() >= DEPTH || elements > ELEMENTS {
                    return Err(XmlError::TooLarge);
                }
                seen_root = true;
                let whole = element(&start)?;
                ended(whole, &mut open, level, &mut elements, &mut each)?;
            }
            Event::End(_) => {
                let Some(whole) = open.pop() else {
                    return Err(XmlError::Syntax { reason: "an end without a begin".to_owned() });
                };
                ended(whole, &mut open, level, &mut elements, &mut each)?;
            }
            Event::Text(text) => add(&mut open, level, &text.xml10_content())?,
            Event::CData(text) => add(&mut open, level, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let one = match reference.resolve_char_ref() {
                    Ok(Some(one)) => one,
                    Ok(None) => predefined(&reference.xml10_content())?,
                    Err(error) => return Err(XmlError::Syntax { reason: error.to_string() }),
                };
                add(&mut open, level, one.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof if open.is_empty() && seen_root => return Ok(()),
            Event::Eof => return Err(XmlError::Truncated),
        }
    }
}

/// Puts a complete element into the one around it, or gives it away.
fn ended(
    whole: Element,
    open: &mut [Element],
    level: usize,
    elements: &mut usize,
    each: &mut impl FnMut(Element) -> Result<(), XmlError>,
) -> Result<(), XmlError> {
    if open.len() == level {
        *elements = 0;
        return each(whole);
    }
    // The root of a list that was given away child by child.
    if let Some(around) = open.last_mut() {
        around.children.push(whole);
    }
    Ok(())
}

fn add(open: &mut [Element], level: usize, text: &str) -> Result<(), XmlError> {
    // Text between the members of a list is of no use.
    if open.len() <= level && !open.is_empty() {
        return Ok(());
    }
    match open.last_mut() {
        Some(element) => {
            element.text.push_str(text);
            Ok(())
        }
        None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => Ok(()),
        None => Err(XmlError::Syntax { reason: "text outside of all elements".to_owned() }),
    }
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, XmlError> {
    let wrong = |reason: String| XmlError::Syntax { reason };
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| wrong(error.to_string()))?;
        let value = unescape(&attribute.value)?;
        attributes.push((name_of(attribute.key.as_ref()), value));
    }
    Ok(Element { name: name_of(start.name().as_ref()), attributes, ..Element::default() })
}

/// A name without its prefix.
fn name_of(name: &str) -> String {
    name.rsplit(':').next().unwrap_or_default().to_owned()
}

fn unescape(text: &str) -> Result<String, XmlError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';').ok_or_else(|| XmlError::Syntax {
            reason: "an ampersand that begins no entity".to_owned(),
        })?;
        plain.push_str(before);
        plain.push(match name.strip_prefix('#') {
            Some(number) => numbered(number)?,
            None => predefined(name)?,
        });
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

fn numbered(number: &str) -> Result<char, XmlError> {
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    code.ok()
        .and_then(char::from_u32)
        .ok_or_else(|| XmlError::Syntax { reason: format!("`&#{number};` is no character") })
}

fn predefined(name: &str) -> Result<char, XmlError> {
    Ok(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return Err(XmlError::Entity { name: name.chars().take(40).collect() }),
    })
}

/// Text as the content of an element; characters that XML cannot hold are left out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for one in text.chars() {
        match one {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(one),
            '\u{fffe}' | '\u{ffff}' => {}
            one if one < ' ' => {}
            one => escaped.push(one),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_it_was() {
        let text = "a \"q\" & <b> ]]> \\ ` $( tab\tline\n é 漢 \r end";
        let back = read(&format!("<A>{}</A>", escape(text))).unwrap();
        assert_eq!(back.text, text);
        let back = read("<A x='&lt;&#65;'><![CDATA[a<b]]>&amp;<B/>c</A>").unwrap();
        assert_eq!((back.text.as_str(), back.attribute("x")), ("a<b&c", Some("<A")));
        assert_eq!(back.children.len(), 1);
    }

    #[test]
    fn what_could_grow_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        assert_eq!(read(bomb), Err(XmlError::DocumentType));
        assert!(matches!(read("<a>&c;</a>"), Err(XmlError::Entity { .. })));
        assert_eq!(read(&"<a>".repeat(100_000)), Err(XmlError::TooLarge));
        let wide = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS + 1));
        assert_eq!(read(&wide), Err(XmlError::TooLarge));
        for broken in ["", " ", "<a>", "<a></b>", "<a/><b/>", "a", "<a/>b", "<a>&#xD800;</a>"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_list_is_given_member_by_member() {
        let text = format!("<P>\n{}</P>", "<I><ID>1</ID></I>\n".repeat(60_000));
        let mut seen = 0;
        each_child(&text, |member| {
            assert_eq!(member.number("ID"), Ok(1));
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 60_000);
    }
}
