//! Whether a message is accepted: all checks, in the order of the original.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use crate::{
    cms::{self, Rules},
    envelope,
    error::Refusal,
    list::ImageList,
    name::Principal,
    trust::{self, Anchors},
    version,
};

/// What a subscription expects of its list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Identifier of the list; `None` before the first one was seen.
    pub identifier: Option<&'a str>,
    /// Who may sign; `None` where the endorser is not checked yet (at the first subscription).
    pub endorsers: Option<&'a [Principal]>,
    /// The highest version that was ever accepted.
    pub stored: Option<&'a Stored>,
    pub rules: Rules,
}

/// What is remembered of the last accepted message: it outlives cached files, so that nobody can go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub version: String,
    /// SHA-512 of the whole message, hexadecimal.
    pub message_sha512: String,
}

/// An accepted message.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub list: ImageList,
    /// Whose certificate signed it.
    pub signer: Principal,
    /// SHA-512 of the whole message, hexadecimal.
    pub message_sha512: String,
    pub outcome: Outcome,
}

/// What an accepted message means for the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same bytes: nothing to do.
    Unchanged,
    /// Another list of the same version: taken, with a warning.
    SameVersion,
    /// A newer list, or the first.
    Newer,
}

/// Checks a message: envelope, signature, chain; then what the list says of itself; then the subscription.
///
/// Cheap enough to be done for each refresh: a list of 1,000 images takes some milliseconds. Blocks on the CPU and
/// reads CRLs from the trust folder.
///
/// # Errors
/// The first check that fails.
pub fn judge(
    message: &[u8],
    anchors: &Anchors,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Accepted, Refusal> {
    let signed = cms::open(&envelope::split(message)?, &expected.rules)?;
    trust::check(anchors, &signed.signer, &expected.rules, now)?;
    let signer = cms::principal(&signed.signer);
    if signed.content.trim_ascii().is_empty() {
        return Err(Refusal::Empty);
    }
    let list = ImageList::decode(&signed.content)?;
    let named = &list.endorser.principal;
    if !named.is(&signer) {
        return Err(Refusal::EndorserDiffers {
            subject: named.subject.clone(),
            issuer: named.issuer.clone(),
            signer: signer.subject,
            signer_issuer: signer.issuer,
        });
    }
    if let Some(identifier) = expected.identifier
        && identifier != list.identifier
    {
        return Err(Refusal::OtherList { expected: identifier.to_owned(), found: list.identifier });
    }
    if list.created > now {
        return Err(Refusal::Future { created: list.created });
    }
    if list.expires <= now {
        return Err(Refusal::Expired { expires: list.expires });
    }
    if let Some(endorsers) = expected.endorsers
        && !endorsers.iter().any(|endorser| endorser.is(&signer))
    {
        return Err(Refusal::NotEndorsed { subject: signer.subject, issuer: signer.issuer });
    }
    let message_sha512 = hex(&Sha512::digest(message));
    let outcome = match expected.stored {
        None => Outcome::Newer,
        Some(stored) => compare(stored, &list.version, &message_sha512, &expected.rules)?,
    };
    Ok(Accepted { list, signer, message_sha512, outcome })
}

fn compare(
    stored: &Stored,
    offered: &str,
    sha512: &str,
    rules: &Rules,
) -> Result<Outcome, Refusal> {
    if stored.message_sha512 == sha512 {
        return Ok(Outcome::Unchanged);
    }
    match version::compare(offered, &stored.version) {
        std::cmp::Ordering::Greater => Ok(Outcome::Newer),
        std::cmp::Ordering::Less => Err(Refusal::OlderVersion {
            stored: stored.version.clone(),
            offered: offered.to_owned(),
        }),
        std::cmp::Ordering::Equal if rules.strict_version => {
            Err(Refusal::SameVersion { version: offered.to_owned() })
        }
        std::cmp::Ordering::Equal => Ok(Outcome::SameVersion),
    }
}

/// Bytes as hexadecimal digits, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}
