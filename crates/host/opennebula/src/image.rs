//! An image as the server describes it.

use serde::{Deserialize, Serialize};

use crate::xml::{Element, XmlError, escape};

/// The attribute that ties an image of the cloud to one of a list.
pub const IDENTIFIER: &str = "VMCATCHER_EVENT_DC_IDENTIFIER";
/// The attribute with the digest of the file an image was made from.
pub const SHA512: &str = "VMCATCHER_EVENT_SL_CHECKSUM_SHA512";

/// Where an image is in its life; numbers are the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Init,
    Ready,
    Used,
    Disabled,
    /// Its file is being copied.
    Locked,
    Error,
    Clone,
    Delete,
    UsedPersistent,
    LockedUsed,
    LockedUsedPersistent,
    /// Of a server newer than this program.
    Other(i64),
}

impl From<i64> for State {
    fn from(number: i64) -> Self {
        match number {
            0 => Self::Init,
            1 => Self::Ready,
            2 => Self::Used,
            3 => Self::Disabled,
            4 => Self::Locked,
            5 => Self::Error,
            6 => Self::Clone,
            7 => Self::Delete,
            8 => Self::UsedPersistent,
            9 => Self::LockedUsed,
            10 => Self::LockedUsedPersistent,
            other => Self::Other(other),
        }
    }
}

/// Use, manage, admin for owner, group, others: nine bits, written in octal as the server's tools do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permissions([bool; 9]);

impl Permissions {
    /// Everything for the owner, nothing for anybody else: what a withdrawn image has.
    pub const WITHDRAWN: Self = Self([true, true, true, false, false, false, false, false, false]);

    /// In the order of `one.image.chmod`.
    pub fn bits(self) -> [bool; 9] {
        self.0
    }
}

impl std::fmt::Display for Permissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for three in self.0.chunks(3) {
            let digit = three.iter().fold(0_u8, |digit, bit| digit << 1 | u8::from(*bit));
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Permissions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(8)).collect();
        match digits.as_deref() {
            Some(&[owner, group, other]) => {
                let number = owner << 6 | group << 3 | other;
                let mut bits = [false; 9];
                for (at, bit) in bits.iter_mut().enumerate() {
                    *bit = number >> (8 - at) & 1 == 1;
                }
                Ok(Self(bits))
            }
            _ => Err(format!("`{text}` are no permissions; write three octal digits, as in `640`")),
        }
    }
}

impl TryFrom<String> for Permissions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Permissions> for String {
    fn from(permissions: Permissions) -> Self {
        permissions.to_string()
    }
}

/// An image of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub id: i64,
    pub name: String,
    pub uid: i64,
    pub gid: i64,
    pub permissions: Permissions,
    pub state: State,
    /// Virtual machines that use it.
    pub running: i64,
    /// Copies of it that are being made.
    pub cloning: i64,
    /// Seconds since 1970.
    pub registered: i64,
    /// The attributes; empty for an image of no list, when it was read in a pool.
    pub template: Vec<Element>,
}

impl Image {
    /// Reads an `IMAGE` element.
    ///
    /// # Errors
    /// When something that every image has is missing.
    pub fn read(mut element: Element) -> Result<Self, XmlError> {
        if element.name != "IMAGE" {
            return Err(XmlError::Lacks {
                what: format!("an image; `{}` stands there", element.name),
            });
        }
        let lacks = |what: &str| XmlError::Lacks { what: format!("`{what}` of an image") };
        let granted = element.child("PERMISSIONS").ok_or_else(|| lacks("PERMISSIONS"))?;
        let mut bits = [false; 9];
        let who = ["OWNER", "GROUP", "OTHER"];
        for (at, bit) in bits.iter_mut().enumerate() {
            let name = format!("{}_{}", who[at / 3], ["U", "M", "A"][at % 3]);
            *bit = granted.number(&name)? == 1;
        }
        let template = element
            .children
            .iter_mut()
            .find(|child| child.name == "TEMPLATE")
            .map(|template| std::mem::take(&mut template.children))
            .unwrap_or_default();
        Ok(Self {
            id: element.number("ID")?,
            name: element.text_of("NAME").ok_or_else(|| lacks("NAME"))?.to_owned(),
            uid: element.number("UID")?,
            gid: element.number("GID")?,
            permissions: Permissions(bits),
            state: element.number("STATE")?.into(),
            running: element.number("RUNNING_VMS").unwrap_or_default(),
            cloning: element.number("CLONING_OPS").unwrap_or_default(),
            registered: element.number("REGTIME").unwrap_or_default(),
            template,
        })
    }

    /// An attribute that is there and not empty.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.template.iter().find(|attribute| attribute.name == name)?;
        Some(found.text.as_str()).filter(|text| !text.is_empty())
    }

    /// Whether it is of the list's image `identifier`.
    pub fn is_of(&self, identifier: &str) -> bool {
        self.attribute(IDENTIFIER) == Some(identifier)
    }

    /// Whether nobody uses it now.
    pub fn is_free(&self) -> bool {
        self.running == 0
            && self.cloning == 0
            && matches!(self.state, State::Ready | State::Disabled | State::Error)
    }

    /// All attributes, as a template that the server reads.
    pub fn template_text(&self) -> String {
        let mut text = String::from("<TEMPLATE>");
        for attribute in &self.template {
            write(attribute, &mut text);
        }
        text.push_str("</TEMPLATE>");
        text
    }
}

/// Depth is bounded by the reader.
fn write(element: &Element, text: &mut String) {
    // No attribute has another name; one that did could begin a comment.
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !element.name.starts_with(begins) || !element.name.chars().all(goes_on) {
        return;
    }
    text.push_str(&format!("<{}>", element.name));
    if element.children.is_empty() {
        text.push_str(&escape(&element.text));
    } else {
        element.children.iter().for_each(|child| write(child, text));
    }
    text.push_str(&format!("</{}>", element.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal() {
        for text in ["600", "644", "700", "000", "777", "124"] {
            assert_eq!(text.parse::<Permissions>().unwrap().to_string(), text);
        }
        assert_eq!(Permissions::WITHDRAWN.to_string(), "700");
        for text in ["", "8", "64", "6444", "68x"] {
            assert!(text.parse::<Permissions>().is_err(), "{text}");
        }
    }
}
