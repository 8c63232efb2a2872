//! Signatures of artefacts in cosign's form: a payload that names the manifest's digest, signed with a key of the site's
//! choice, kept in the registry under the tag `sha256-DIGEST.sig`.
//!
//! Format: cosign's SIGNATURE_SPEC.md; payload: Red Hat's simple signing. No certificates, no transparency log: the site
//! names the key. A signature says who vouches for these bytes, not which tag should lead to them: a registry that leads
//! a tag back to older bytes of the same signer is not found out by it.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    hash::MessageDigest,
    pkey::{Id, PKey, Public},
    sign::Verifier,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vnode_image::{Digest, artefact::Signed};

use crate::{cms, error::Refusal, fetch::FetchError, judge::hex, name::Principal};

/// Longest key file, bytes.
const MAX_KEY: u64 = 64 << 10;
const TYPE: &str = "cosign container image signature";

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Signee,
}

#[derive(Deserialize)]
struct Signee {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Whoever is believed where no key is asked for.
pub(super) fn nobody() -> Principal {
    Principal::new("not signed".to_owned(), "the registry".to_owned())
}

/// A public key that artefacts must be signed with.
pub(super) struct Key {
    path: PathBuf,
    key: PKey<Public>,
    /// SHA-256 of the key, DER.
    fingerprint: String,
}

impl Key {
    /// Reads a public key, PEM.
    pub(super) fn read(path: &Path) -> Result<Self, FetchError> {
        let wrong = |reason: String| FetchError::Key { path: path.to_owned(), reason };
        let mut text = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_KEY).read_to_end(&mut text))
            .map_err(|error| wrong(error.to_string()))?;
        let key = PKey::public_key_from_pem(&text).map_err(|error| wrong(cms::first(&error)))?;
        cms::check_key(&key).map_err(|error| wrong(error.to_string()))?;
        let der = key.public_key_to_der().map_err(|error| wrong(cms::first(&error)))?;
        let fingerprint = hex(&Sha256::digest(&der));
        Ok(Self { path: path.to_owned(), key, fingerprint })
    }

    /// Who this is, where lists name their signer.
    pub(super) fn principal(&self) -> Principal {
        Principal::new(format!("key sha256:{}", self.fingerprint), self.path.display().to_string())
    }

    /// Whether one of these is this key's signature of that manifest.
    pub(super) fn check(&self, signed: &[Signed], digest: Digest) -> Result<(), Refusal> {
        if signed.is_empty() {
            return refused(format!("nobody signed {digest}"));
        }
        let mut why = String::new();
        for one in signed {
            match self.check_one(one, digest) {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
        }
        refused(format!("none of {} signatures of {digest} counts: {why}", signed.len()))
    }

    fn check_one(&self, signed: &Signed, digest: Digest) -> Result<(), String> {
        let signature =
            STANDARD.decode(signed.signature.trim()).map_err(|_| "it is no base64".to_owned())?;
        let good = self.verify(&signed.payload, &signature).unwrap_or(false);
        if !good {
            return Err(format!("it is not made with the key {}", self.path.display()));
        }
        // Only now, what somebody we know wrote.
        let payload: Payload =
            serde_json::from_slice(&signed.payload).map_err(|e| format!("its payload: {e}"))?;
        if payload.critical.kind != TYPE {
            return Err("it is a signature of something else than an image".to_owned());
        }
        if payload.critical.image.digest != digest.to_string() {
            return Err("it is the signature of another image".to_owned());
        }
        Ok(())
    }

    fn verify(&self, payload: &[u8], signature: &[u8]) -> Result<bool, openssl::error::ErrorStack> {
        if self.key.id() == Id::ED25519 {
            return Verifier::new_without_digest(&self.key)?.verify_oneshot(signature, payload);
        }
        Verifier::new(MessageDigest::sha256(), &self.key)?.verify_oneshot(signature, payload)
    }
}

fn refused(reason: String) -> Result<(), Refusal> {
    Err(Refusal::Signature { reason })
}
