//! Why a list is refused.

use jiff::Timestamp;
use thiserror::Error;

/// Why a signed message is not accepted; [`Refusal::exit_code`] is the number the original program gives for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("it is no signed message: {reason}")]
    Envelope { reason: String },
    #[error("its signature is refused: {reason}")]
    Signature { reason: String },
    #[error("its signer `{subject}` is not trusted: {reason}")]
    Chain { subject: String, reason: String },
    #[error(
        "it names `{subject}` of `{issuer}` as endorser, but is signed by `{signer}` of `{signer_issuer}`"
    )]
    EndorserDiffers { subject: String, issuer: String, signer: String, signer_issuer: String },
    #[error(
        "its signer `{subject}` of `{issuer}` is no endorser of this subscription; link an endorser with that subject and issuer if it should be"
    )]
    NotEndorsed { subject: String, issuer: String },
    #[error("it is signed, but empty")]
    Empty,
    #[error(
        "it has version `{version}` as the stored one has, but other content, and strict-version is set"
    )]
    SameVersion { version: String },
    #[error("its version `{offered}` is older than `{stored}`, which was accepted before")]
    OlderVersion { stored: String, offered: String },
    #[error("it is the list `{found}`, not `{expected}`")]
    OtherList { expected: String, found: String },
    #[error("it was created at {created}, which is in the future")]
    Future { created: Timestamp },
    #[error("it expired at {expires}; its publisher must sign a new one")]
    Expired { expires: Timestamp },
    #[error(transparent)]
    List(#[from] ListError),
}

impl Refusal {
    /// The exit code of `vmcatcher_subscribe` for this refusal.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Envelope { .. } | Self::Signature { .. } | Self::Chain { .. } => 11,
            Self::EndorserDiffers { .. } => 12,
            Self::NotEndorsed { .. } => 13,
            Self::Empty => 14,
            Self::SameVersion { .. } => 16,
            Self::OlderVersion { .. } => 17,
            Self::OtherList { .. } => 31,
            Self::Future { .. } => 33,
            Self::Expired { .. } => 34,
            Self::List(ListError::NotJson { .. }) => 37,
            Self::List(ListError::NotAList { .. }) => 38,
        }
    }

    /// Whether the signature and its chain were good: what was refused is what the list says.
    pub fn signature_was_good(&self) -> bool {
        self.exit_code() != 11
    }
}

/// Why signed bytes are no image list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListError {
    #[error("the signed text is not JSON: {reason}")]
    NotJson { reason: String },
    #[error("the signed text is no image list: {reason}")]
    NotAList { reason: String },
}
