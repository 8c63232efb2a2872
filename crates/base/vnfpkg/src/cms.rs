//! CMS signatures (RFC 5652) over bytes that lie beside them, and whose certificates lead to one that is trusted.
//!
//! What `openssl cms -sign` writes: DER, or the same as PEM. RSA (PKCS #1 v1.5), ECDSA on P-256 and P-384, Ed25519;
//! SHA-256 to SHA-512. Revocation is not asked for: nothing here opens a connection.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{
    der::{BITS, BYTES, INTEGER, OID, Reader, SEQUENCE, SET, TIME, UTC_TIME, Value, context},
    problem::{Code, Problem},
};

/// Certificates of one chain, at most.
const CHAIN: usize = 8;
/// Certificates and signers that are looked at.
const MANY: usize = 16;

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// PKCS #1; the last byte says which: 1 RSA, 11 to 13 RSA with SHA-256 to SHA-512.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// ECDSA; the last byte says with which digest: 2 to 4, SHA-256 to SHA-512.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// SHA-2; the last byte says which: 1 to 3, SHA-256 to SHA-512.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
const KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

fn wrong(what: impl Into<String>) -> Problem {
    Problem::new(Code::Signature, what.into())
}

fn malformed() -> Problem {
    wrong("the CMS signature cannot be read; make it with `openssl cms -sign -binary -outform PEM`")
}

/// Whether these bytes are meant as a CMS signature: PEM of it, or DER.
pub(crate) fn is_cms(bytes: &[u8]) -> bool {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The digest of an algorithm's last byte, of which the first is SHA-256.
    fn at(last: u8, first: u8) -> Option<Self> {
        match last.checked_sub(first)? {
            0 => Some(Self::Sha256),
            1 => Some(Self::Sha384),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// `AlgorithmIdentifier`: its OID, and what stands behind it.
#[derive(Debug, Clone, Copy)]
struct Algorithm<'a> {
    id: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Algorithm<'a> {
    fn read(value: Value<'a>) -> Option<Self> {
        let mut inside = value.inside();
        let id = inside.take(OID)?.body;
        let parameters = inside.maybe(OID).map_or(&[][..], |curve| curve.body);
        Some(Self { id, parameters })
    }

    /// The digest this names, if it names one.
    fn hash(self) -> Result<Hash, Problem> {
        let known = self.id.split_last().filter(|(_, start)| *start == SHA2);
        known.and_then(|(last, _)| Hash::at(*last, 1)).ok_or_else(|| {
            Problem::new(
                Code::Algorithm,
                "the digest of the signature is none of SHA-256 to SHA-512",
            )
        })
    }
}

/// Whether `signature` is that of `key` over `message`.
fn verify(
    key: &Key<'_>,
    algorithm: Algorithm<'_>,
    hash: Option<Hash>,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Problem> {
    let unknown = || {
        let what = "the signature is made by an algorithm that is not accepted; use RSA, ECDSA on P-256 or P-384, or Ed25519, with SHA-2";
        Problem::new(Code::Algorithm, what)
    };
    let (last, start) = algorithm.id.split_last().ok_or_else(unknown)?;
    let with: &'static dyn VerificationAlgorithm = if algorithm.id == ED25519 {
        &signature::ED25519
    } else if start == PKCS1 {
        let hash = if *last == 1 { hash } else { Hash::at(*last, 11) };
        match hash.ok_or_else(unknown)? {
            Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        }
    } else if start == ECDSA {
        match (key.algorithm.parameters, Hash::at(*last, 2)) {
            (P256, Some(Hash::Sha256)) => &signature::ECDSA_P256_SHA256_ASN1,
            (P256, Some(Hash::Sha384)) => &signature::ECDSA_P256_SHA384_ASN1,
            (P384, Some(Hash::Sha256)) => &signature::ECDSA_P384_SHA256_ASN1,
            (P384, Some(Hash::Sha384)) => &signature::ECDSA_P384_SHA384_ASN1,
            _ => return Err(unknown()),
        }
    } else {
        return Err(unknown());
    };
    Ok(UnparsedPublicKey::new(with, key.bits).verify(message, signature).is_ok())
}

#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    algorithm: Algorithm<'a>,
    bits: &'a [u8],
}

/// A certificate, as much of it as counts here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Certificate<'a> {
    whole: &'a [u8],
    signed: &'a [u8],
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    /// Seconds since 1970.
    from: i64,
    until: i64,
    key: Key<'a>,
    identifier: Option<&'a [u8]>,
    is_authority: bool,
    /// May its key sign anything but certificates?
    signs: bool,
    algorithm: Algorithm<'a>,
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let value = Reader(der).take(SEQUENCE)?;
        let mut outer = value.inside();
        let signed = outer.take(SEQUENCE)?;
        let algorithm = Algorithm::read(outer.take(SEQUENCE)?)?;
        let signature = bits(outer.take(BITS)?)?;
        let mut inside = signed.inside();
        inside.maybe(context(0));
        let serial = inside.take(INTEGER)?.body;
        inside.take(SEQUENCE)?;
        let issuer = inside.take(SEQUENCE)?.whole;
        let mut validity = inside.take(SEQUENCE)?.inside();
        let (from, until) = (time(validity.any()?)?, time(validity.any()?)?);
        let subject = inside.take(SEQUENCE)?.whole;
        let mut key = inside.take(SEQUENCE)?.inside();
        let key =
            Key { algorithm: Algorithm::read(key.take(SEQUENCE)?)?, bits: bits(key.take(BITS)?)? };
        let mut found = Self {
            whole: value.whole,
            signed: signed.whole,
            serial,
            issuer,
            subject,
            from,
            until,
            key,
            identifier: None,
            is_authority: false,
            signs: true,
            algorithm,
            signature,
        };
        while let Some(value) = inside.any() {
            if value.tag == context(3) {
                found.extensions(value)?;
            }
        }
        Some(found)
    }

    fn extensions(&mut self, value: Value<'a>) -> Option<()> {
        let mut all = value.inside().take(SEQUENCE)?.inside();
        while !all.is_empty() {
            let mut one = all.take(SEQUENCE)?.inside();
            let id = one.take(OID)?.body;
            // Whether it is critical.
            one.maybe(0x01);
            let mut body = one.take(BYTES)?.inside();
            match id {
                KEY_IDENTIFIER => self.identifier = Some(body.take(BYTES)?.body),
                KEY_USAGE => {
                    // digitalSignature and nonRepudiation are the first two bits.
                    self.signs = body.take(BITS)?.body.get(1).is_some_and(|uses| uses & 0xc0 != 0);
                }
                BASIC_CONSTRAINTS => {
                    let mut inside = body.take(SEQUENCE)?.inside();
                    self.is_authority =
                        inside.maybe(0x01).is_some_and(|value| value.body == [0xff]);
                }
                _ => {}
            }
        }
        Some(())
    }

    fn in_time(&self, now: i64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    fn issued(&self, other: &Certificate<'_>) -> bool {
        self.is_authority
            && self.subject == other.issuer
            && verify(&self.key, other.algorithm, None, other.signed, other.signature)
                .unwrap_or(false)
    }
}

/// The bytes of a BIT STRING of whole bytes.
fn bits(value: Value<'_>) -> Option<&[u8]> {
    let (&unused, bytes) = value.body.split_first()?;
    (unused == 0).then_some(bytes)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, in seconds since 1970.
fn time(value: Value<'_>) -> Option<i64> {
    let text = str::from_utf8(value.body).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (value.tag, text.len()) {
        (UTC_TIME, 12) => {
            let short: i64 = text[..2].parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, &text[2..])
        }
        (TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    // Days since 1970, by years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// One who signed.
struct Signer<'a> {
    who: Value<'a>,
    digest: Algorithm<'a>,
    attributes: Option<Value<'a>>,
    algorithm: Algorithm<'a>,
    signature: &'a [u8],
}

impl<'a> Signer<'a> {
    fn read(value: Value<'a>) -> Option<Self> {
        let mut inside = value.inside();
        inside.take(INTEGER)?;
        let who = inside.any()?;
        let digest = Algorithm::read(inside.take(SEQUENCE)?)?;
        let attributes = inside.maybe(context(0));
        let algorithm = Algorithm::read(inside.take(SEQUENCE)?)?;
        let signature = inside.take(BYTES)?.body;
        Some(Self { who, digest, attributes, algorithm, signature })
    }

    /// By issuer and number, or by the identifier of the key.
    fn is(&self, certificate: &Certificate<'_>) -> bool {
        if self.who.tag == 0x80 {
            return certificate.identifier == Some(self.who.body);
        }
        let mut inside = self.who.inside();
        let (issuer, serial) = (inside.take(SEQUENCE), inside.take(INTEGER));
        issuer.is_some_and(|issuer| issuer.whole == certificate.issuer)
            && serial.is_some_and(|serial| serial.body == certificate.serial)
    }

    /// Whether the certificate's key signed this content.
    fn signed(
        &self,
        certificate: &Certificate<'_>,
        content: &[u8],
        kind: &[u8],
    ) -> Result<bool, Problem> {
        let hash = self.digest.hash();
        let Some(attributes) = self.attributes else {
            return verify(&certificate.key, self.algorithm, hash.ok(), content, self.signature);
        };
        let hash = hash?;
        let (mut digest, mut named) = (None, None);
        let mut all = attributes.inside();
        while !all.is_empty() {
            let mut one = all.take(SEQUENCE).ok_or_else(malformed)?.inside();
            let id = one.take(OID).ok_or_else(malformed)?.body;
            let mut values = one.take(SET).ok_or_else(malformed)?.inside();
            let value = values.any().ok_or_else(malformed)?;
            match id {
                MESSAGE_DIGEST => digest = Some(value.body),
                CONTENT_TYPE => named = Some(value.body),
                _ => {}
            }
        }
        if named != Some(kind) || digest != Some(&hash.of(content)) {
            return Ok(false);
        }
        // They are signed as a SET, and stand here under a tag of the context.
        let mut message = attributes.whole.to_vec();
        message[0] = SET;
        verify(&certificate.key, self.algorithm, Some(hash), &message, self.signature)
    }
}

/// The place, in `trusted`, of the certificate to which the signature of `content` leads. `beside`: certificates, as
/// DER, that were given apart from the signature.
pub(crate) fn check(
    signature: &[u8],
    content: &[u8],
    beside: &[Vec<u8>],
    trusted: &[&[u8]],
) -> Result<usize, Problem> {
    let blocks;
    let bytes: &[u8] = if signature.starts_with(&[SEQUENCE]) {
        signature
    } else {
        let text = str::from_utf8(signature).map_err(|_| malformed())?;
        blocks = pem(text, &["CMS", "PKCS7"]).ok_or_else(malformed)?;
        blocks.first().ok_or_else(malformed)?
    };
    let (kind, certificates, signers) = parts(bytes).ok_or_else(malformed)?;
    let mut known: Vec<Certificate<'_>> = certificates;
    known.extend(beside.iter().filter_map(|der| Certificate::read(der)).take(MANY));
    let roots: Vec<Certificate<'_>> = trusted
        .iter()
        .map(|der| Certificate::read(der))
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::new(Code::Untrusted, "a trusted certificate cannot be read"))?;
    // As text is sent by mail, which is what `openssl cms` signs without `-binary`.
    let mailed = content.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    let mut told = wrong("the signature is of other bytes");
    for signer in signers {
        let certificate = known.iter().chain(&roots).find(|certificate| signer.is(certificate));
        let Some(certificate) = certificate else {
            told = Problem::new(
                Code::Untrusted,
                "the signer's certificate is neither in the signature nor trusted",
            );
            continue;
        };
        let right = signer.signed(certificate, content, kind)?
            || signer.signed(certificate, &mailed, kind)?;
        if !right {
            continue;
        }
        if !certificate.signs {
            told =
                Problem::new(Code::Untrusted, "the signer's certificate is not one to sign with");
            continue;
        }
        match lead(certificate, &known, &roots, now()) {
            Ok(root) => return Ok(root),
            Err(problem) => told = problem,
        }
    }
    Err(told)
}

type Parts<'a> = (&'a [u8], Vec<Certificate<'a>>, Vec<Signer<'a>>);

/// The content's type, certificates, and who signed.
fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let mut info = Reader(bytes).take(SEQUENCE)?.inside();
    if info.take(OID)?.body != SIGNED_DATA {
        return None;
    }
    let mut data = info.take(context(0))?.inside().take(SEQUENCE)?.inside();
    data.take(INTEGER)?;
    data.take(SET)?;
    let kind = data.take(SEQUENCE)?.inside().take(OID)?.body;
    let mut certificates = Vec::new();
    if let Some(all) = data.maybe(context(0)) {
        let mut all = all.inside();
        while !all.is_empty() && certificates.len() < MANY {
            // Other kinds of certificates stand under tags of their own.
            let one = all.any()?;
            if one.tag == SEQUENCE {
                certificates.push(Certificate::read(one.whole)?);
            }
        }
    }
    data.maybe(context(1));
    let mut all = data.take(SET)?.inside();
    let mut signers = Vec::new();
    while !all.is_empty() && signers.len() < MANY {
        signers.push(Signer::read(all.take(SEQUENCE)?)?);
    }
    Some((kind, certificates, signers))
}

/// Follows issuers to a certificate that is trusted; gives its place.
fn lead(
    signer: &Certificate<'_>,
    known: &[Certificate<'_>],
    roots: &[Certificate<'_>],
    now: i64,
) -> Result<usize, Problem> {
    let untrusted = |what: &str| Err(Problem::new(Code::Untrusted, what));
    let mut at = *signer;
    for _ in 0..CHAIN {
        if !at.in_time(now) {
            return untrusted("a certificate of the signer has expired, or is not valid yet");
        }
        if let Some(place) = roots.iter().position(|root| root.whole == at.whole) {
            return Ok(place);
        }
        if let Some(place) = roots.iter().position(|root| root.issued(&at)) {
            if !roots[place].in_time(now) {
                return untrusted("the trusted certificate has expired, or is not valid yet");
            }
            return Ok(place);
        }
        match known.iter().find(|other| other.whole != at.whole && other.issued(&at)) {
            Some(issuer) => at = *issuer,
            None => break,
        }
    }
    untrusted("signed by a certificate that leads to none that is trusted here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let at = |tag, text: &str| time(Value { tag, body: text.as_bytes(), whole: &[] });
        assert_eq!(at(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, "000229123456Z"), Some(951_827_696));
        assert_eq!(at(TIME, "20380119031408Z"), Some(1 << 31));
        assert_eq!(at(TIME, "380119031408Z"), None);
        assert_eq!(at(UTC_TIME, "7001010000Z"), None);
    }
}
