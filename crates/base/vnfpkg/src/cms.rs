//! CMS signatures (RFC 5652) over bytes that lie beside them, and whose certificates lead to one that is trusted.
//!
//! What `openssl cms -sign` writes: DER, or the same as PEM. RSA (PKCS #1 v1.5), ECDSA on P-256 and P-384, Ed25519;
//! SHA-256 to SHA-512. Revocation is not asked for: nothing here opens a connection.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use cms::{
    cert::CertificateChoices,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier, SignerInfo},
};
use const_oid::db::{
    rfc5911::{ID_CONTENT_TYPE, ID_MESSAGE_DIGEST, ID_SIGNED_DATA},
    rfc5912::{
        ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_SHA_256, ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION,
        SECP_256_R_1, SECP_384_R_1, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
        SHA_512_WITH_RSA_ENCRYPTION,
    },
    rfc8410::ID_ED_25519,
};
use der::{Any, Decode, Encode, asn1::ObjectIdentifier, asn1::OctetString};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier},
    spki::SubjectPublicKeyInfoOwned,
};

use crate::problem::{Code, Problem};

/// Certificates of one chain, at most.
const CHAIN: usize = 8;
/// Certificates and signers that are looked at.
const MANY: usize = 16;

fn wrong(what: impl Into<String>) -> Problem {
    Problem::new(Code::Signature, what.into())
}

fn malformed() -> Problem {
    wrong(
        "the CMS signature cannot be read; make it with `openssl cms -sign -binary -outform PEM`, or have one written anew as DER with `openssl cms -cmsout -outform DER`",
    )
}

fn untrusted(what: impl Into<String>) -> Problem {
    Problem::new(Code::Untrusted, what.into())
}

/// Whether these bytes are meant as a CMS signature: PEM of it, or DER.
pub(crate) fn is_cms(bytes: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    bytes.starts_with(&[SEQUENCE])
        || [&b"-----BEGIN CMS-----"[..], b"-----BEGIN PKCS7-----"]
            .iter()
            .any(|begin| bytes.trim_ascii_start().starts_with(begin))
}

/// What stands between the lines of the PEM blocks of one of these kinds.
pub(crate) fn pem(text: &str, kinds: &[&str]) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (kind, after) = after.split_once("-----")?;
        let (body, after) = after.split_once(&format!("-----END {kind}-----"))?;
        rest = after;
        if kinds.contains(&kind) {
            let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            all.push(STANDARD.decode(body).ok()?);
        }
    }
    Some(all)
}

/// What was signed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Bytes(&'a [u8]),
    /// All of a file, which may be too large to be held in memory.
    File(&'a File),
}

impl Content<'_> {
    pub(crate) fn digest(self, hash: Hash) -> Result<Vec<u8>, Problem> {
        match hash {
            Hash::Sha256 => self.digest_with(Sha256::new()),
            Hash::Sha384 => self.digest_with(Sha384::new()),
            Hash::Sha512 => self.digest_with(Sha512::new()),
        }
    }

    fn digest_with(self, mut digest: impl Digest) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Bytes(bytes) => digest.update(bytes),
            Self::File(file) => {
                let mut buffer = vec![0; 64 << 10];
                let mut at = 0;
                loop {
                    let read = file.read_at(&mut buffer, at).map_err(|error| {
                        Problem::new(Code::Aborted, format!("the archive cannot be read ({error})"))
                    })?;
                    if read == 0 {
                        break;
                    }
                    digest.update(&buffer[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(digest.finalize().to_vec())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn named(digest: ObjectIdentifier) -> Result<Self, Problem> {
        Ok(match digest {
            ID_SHA_256 => Self::Sha256,
            ID_SHA_384 => Self::Sha384,
            ID_SHA_512 => Self::Sha512,
            _ => {
                let what = "the digest of the signature is none of SHA-256 to SHA-512";
                return Err(Problem::new(Code::Algorithm, what));
            }
        })
    }
}

/// Whether `signature` is that of `key` over `message`. `hash`: for an algorithm that does not name its digest.
fn verify(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: ObjectIdentifier,
    hash: Option<Hash>,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Problem> {
    let unknown = || {
        let what = "the signature is made by an algorithm that is not accepted; use RSA, ECDSA on P-256 or P-384, or Ed25519, with SHA-2";
        Problem::new(Code::Algorithm, what)
    };
    let parameters = key.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    let with: &'static dyn VerificationAlgorithm = match (algorithm, curve, hash) {
        (ID_ED_25519, ..) => &signature::ED25519,
        (SHA_256_WITH_RSA_ENCRYPTION, ..) | (RSA_ENCRYPTION, _, Some(Hash::Sha256)) => {
            &signature::RSA_PKCS1_2048_8192_SHA256
        }
        (SHA_384_WITH_RSA_ENCRYPTION, ..) | (RSA_ENCRYPTION, _, Some(Hash::Sha384)) => {
            &signature::RSA_PKCS1_2048_8192_SHA384
        }
        (SHA_512_WITH_RSA_ENCRYPTION, ..) | (RSA_ENCRYPTION, _, Some(Hash::Sha512)) => {
            &signature::RSA_PKCS1_2048_8192_SHA512
        }
        (ECDSA_WITH_SHA_256, Some(SECP_256_R_1), _) => &signature::ECDSA_P256_SHA256_ASN1,
        (ECDSA_WITH_SHA_384, Some(SECP_256_R_1), _) => &signature::ECDSA_P256_SHA384_ASN1,
        (ECDSA_WITH_SHA_256, Some(SECP_384_R_1), _) => &signature::ECDSA_P384_SHA256_ASN1,
        (ECDSA_WITH_SHA_384, Some(SECP_384_R_1), _) => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return Err(unknown()),
    };
    let bits = key.subject_public_key.as_bytes().ok_or_else(unknown)?;
    Ok(UnparsedPublicKey::new(with, bits).verify(message, signature).is_ok())
}

fn in_time(certificate: &Certificate, now: Duration) -> bool {
    let validity = &certificate.tbs_certificate.validity;
    (validity.not_before.to_unix_duration()..=validity.not_after.to_unix_duration()).contains(&now)
}

/// What a key may be used for; `None` where the certificate does not say. What cannot be read allows nothing.
fn may(certificate: &Certificate, use_of: impl Fn(&KeyUsage) -> bool) -> bool {
    match certificate.tbs_certificate.get::<KeyUsage>() {
        Ok(found) => found.is_none_or(|(_, usage)| use_of(&usage)),
        Err(_) => false,
    }
}

/// Whether `issuer` is an authority that signed `other`, with `below` authorities between it and who signed.
fn issued(issuer: &Certificate, other: &Certificate, below: usize) -> bool {
    let (from, of) = (&issuer.tbs_certificate, &other.tbs_certificate);
    let is_authority = match from.get::<BasicConstraints>() {
        Ok(Some((_, constraints))) => {
            constraints.ca
                && constraints.path_len_constraint.is_none_or(|most| below <= usize::from(most))
        }
        _ => false,
    };
    let (Ok(message), Some(signature)) = (of.to_der(), other.signature.as_bytes()) else {
        return false;
    };
    let (key, algorithm) = (&from.subject_public_key_info, other.signature_algorithm.oid);
    is_authority
        && may(issuer, KeyUsage::key_cert_sign)
        && from.subject == of.issuer
        && verify(key, algorithm, None, &message, signature).unwrap_or(false)
}

/// By issuer and number, or by the identifier of the key.
fn is_of(signer: &SignerInfo, certificate: &Certificate) -> bool {
    let certificate = &certificate.tbs_certificate;
    match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(id) => {
            id.issuer == certificate.issuer && id.serial_number == certificate.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(id) => {
            let found = certificate.get::<SubjectKeyIdentifier>();
            found.is_ok_and(|found| found.is_some_and(|(_, found)| found == *id))
        }
    }
}

/// The only value of an attribute, which must be there once.
fn attribute(signer: &SignerInfo, name: ObjectIdentifier) -> Option<&Any> {
    let mut all = signer.signed_attrs.as_ref()?.iter().filter(|attribute| attribute.oid == name);
    match (all.next()?.values.as_slice(), all.next()) {
        ([value], None) => Some(value),
        _ => None,
    }
}

/// Whether the certificate's key signed this content.
fn signed(
    signer: &SignerInfo,
    certificate: &Certificate,
    content: Content<'_>,
    kind: ObjectIdentifier,
) -> Result<bool, Problem> {
    let key = &certificate.tbs_certificate.subject_public_key_info;
    let (algorithm, signature) = (signer.signature_algorithm.oid, signer.signature.as_bytes());
    let hash = Hash::named(signer.digest_alg.oid);
    let Some(attributes) = &signer.signed_attrs else {
        let Content::Bytes(bytes) = content else {
            return Err(wrong(
                "the signature of an archive needs signed attributes; sign it without -noattr",
            ));
        };
        return verify(key, algorithm, hash.ok(), bytes, signature);
    };
    let hash = hash?;
    let digest = attribute(signer, ID_MESSAGE_DIGEST)
        .and_then(|value| value.decode_as::<OctetString>().ok())
        .ok_or_else(malformed)?;
    let named = attribute(signer, ID_CONTENT_TYPE)
        .and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
    if named != Some(kind) || digest.as_bytes() != content.digest(hash)? {
        return Ok(false);
    }
    // They are signed as a SET, and stand in the message under a tag of the context.
    let message = attributes.to_der().map_err(|_| malformed())?;
    verify(key, algorithm, Some(hash), &message, signature)
}

/// A certificate, DER.
pub(crate) fn certificate(der: &[u8]) -> Option<Certificate> {
    Certificate::from_der(der).ok()
}

/// The place, in `trusted`, of the certificate to which the signature of `content` leads. `beside`: certificates that
/// were given apart from the signature.
pub(crate) fn check(
    signature: &[u8],
    content: Content<'_>,
    beside: &[Certificate],
    trusted: &[&Certificate],
) -> Result<usize, Problem> {
    let blocks;
    let bytes: &[u8] = if let Ok(text) = str::from_utf8(signature)
        && text.trim_start().starts_with("-----")
    {
        blocks = pem(text, &["CMS", "PKCS7"]).ok_or_else(malformed)?;
        blocks.first().ok_or_else(malformed)?
    } else {
        signature
    };
    let message = read(bytes).ok_or_else(malformed)?;
    let kind = message.encap_content_info.econtent_type;
    let own =
        message.certificates.iter().flat_map(|all| all.0.iter()).filter_map(|one| match one {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        });
    let known: Vec<&Certificate> = own.take(MANY).chain(beside.iter().take(MANY)).collect();
    // As text is sent by mail, which is what `openssl cms` signs without `-binary`.
    let mailed = match content {
        Content::Bytes(bytes) => {
            Some(bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]))
        }
        Content::File(_) => None,
    };
    let mut told = wrong("the signature is of other bytes");
    for signer in message.signer_infos.0.iter().take(MANY) {
        let certificate =
            known.iter().chain(trusted).find(|certificate| is_of(signer, certificate));
        let Some(certificate) = certificate else {
            told = untrusted("the signer's certificate is neither in the signature nor trusted");
            continue;
        };
        let right = signed(signer, certificate, content, kind)?
            || match &mailed {
                Some(mailed) => signed(signer, certificate, Content::Bytes(mailed), kind)?,
                None => false,
            };
        if !right {
            continue;
        }
        if !may(certificate, |usage| usage.digital_signature() || usage.non_repudiation()) {
            told = untrusted("the signer's certificate is not one to sign with");
            continue;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match lead(certificate, &known, trusted, now) {
            Ok(root) => return Ok(root),
            Err(problem) => told = problem,
        }
    }
    Err(told)
}

fn read(bytes: &[u8]) -> Option<SignedData> {
    let info = ContentInfo::from_der(bytes).ok()?;
    if info.content_type != ID_SIGNED_DATA {
        return None;
    }
    info.content.decode_as().ok()
}

/// Follows issuers to a certificate that is trusted; gives its place.
fn lead(
    signer: &Certificate,
    known: &[&Certificate],
    roots: &[&Certificate],
    now: Duration,
) -> Result<usize, Problem> {
    let mut at = signer;
    for below in 0..CHAIN {
        if !in_time(at, now) {
            let what = "a certificate of the signer has expired, or is not valid yet";
            return Err(untrusted(what));
        }
        if let Some(place) = roots.iter().position(|root| *root == at) {
            return Ok(place);
        }
        if let Some(place) = roots.iter().position(|root| issued(root, at, below)) {
            if !in_time(roots[place], now) {
                let what = "the trusted certificate has expired, or is not valid yet";
                return Err(untrusted(what));
            }
            return Ok(place);
        }
        match known.iter().find(|other| **other != at && issued(other, at, below)) {
            Some(issuer) => at = issuer,
            None => break,
        }
    }
    Err(untrusted("signed by a certificate that leads to none that is trusted here"))
}
