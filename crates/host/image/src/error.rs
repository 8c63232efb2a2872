//! What can go wrong with an image.

/// Errors of this crate. Cheap to clone, because all who wait for one pull get the same error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{text}` is not an image name: {why}")]
    Reference { text: String, why: String },
}
