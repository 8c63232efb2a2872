//! The signature: one signer whose certificate is in the message, a digest and a key that are strong enough.

use openssl::{
    cms::{CMSOptions, CmsContentInfo},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKeyRef, Public},
    stack::Stack,
    x509::X509,
};
use serde::{Deserialize, Serialize};

use crate::{
    der::{self, Element, Reader},
    envelope::Envelope,
    error::Refusal,
    name,
};

/// What a subscription allows beyond the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rules {
    /// Signatures made with SHA-1, in the message and in the chain.
    pub allow_sha1: bool,
    /// Signers whose certificate is for something else than mail: lists signed by a host's certificate.
    pub allow_any_eku: bool,
    /// Refuse another list of the version that is stored.
    pub strict_version: bool,
}

/// What was signed, and by whom; the chain of the certificate is not checked yet.
pub(crate) struct Signed {
    pub(crate) content: Vec<u8>,
    pub(crate) signer: X509,
}

/// Checks the signature of an envelope.
pub(crate) fn open(envelope: &Envelope, rules: &Rules) -> Result<Signed, Refusal> {
    let mut cms = CmsContentInfo::from_der(&envelope.signature)
        .map_err(|e| wrong(format!("it is no CMS message ({})", first(&e))))?;
    // Written again, so that what was BER is DER for the reader below.
    let der = cms.to_der().map_err(|e| wrong(format!("it cannot be read ({})", first(&e))))?;
    let shape = Shape::read(&der).ok_or_else(|| wrong("it is no signed data of the usual form"))?;
    if shape.has_content == envelope.content.is_some() {
        return Err(wrong(if shape.has_content {
            "it holds a second text beside the one in the message"
        } else {
            "it holds no text"
        }));
    }
    let [info] = shape.signers.as_slice() else {
        return Err(wrong(format!("it has {} signers instead of one", shape.signers.len())));
    };
    let info = SignerInfo::read(info).ok_or_else(|| wrong("its signer cannot be read"))?;
    check_algorithms(&info, rules)?;
    let signer = certificate(&shape.certificates, &info)?;
    let key = signer
        .public_key()
        .map_err(|e| wrong(format!("the signer's key cannot be read ({})", first(&e))))?;
    check_key(&key)?;
    let mut only = Stack::new().map_err(|e| wrong(first(&e)))?;
    only.push(signer.clone()).map_err(|e| wrong(first(&e)))?;
    let mut content = Vec::new();
    // The chain is checked apart, with rules OpenSSL does not know; only the certificate found above may be used.
    let flags = CMSOptions::NO_SIGNER_CERT_VERIFY | CMSOptions::NOINTERN | CMSOptions::BINARY;
    cms.verify(Some(&only), None, envelope.content.as_deref(), Some(&mut content), flags)
        .map_err(|e| wrong(format!("the text was changed after it was signed ({})", first(&e))))?;
    Ok(Signed { content, signer })
}

/// What OpenSSL says first.
pub(crate) fn first(errors: &ErrorStack) -> String {
    let text = errors.errors().first().and_then(|error| error.reason());
    text.unwrap_or("no reason given").to_owned()
}

fn wrong(reason: impl Into<String>) -> Refusal {
    Refusal::Signature { reason: reason.into() }
}

const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];

/// SignedData (RFC 5652, section 5.1), as far as it is looked at.
struct Shape<'a> {
    has_content: bool,
    certificates: Vec<&'a [u8]>,
    signers: Vec<Element<'a>>,
}

impl<'a> Shape<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut info = Reader::new(Reader::new(der).expect(der::SEQUENCE)?.content);
        if info.expect(der::OID)?.content != SIGNED_DATA {
            return None;
        }
        let explicit = info.expect(der::context(0))?;
        let mut data = Reader::new(Reader::new(explicit.content).expect(der::SEQUENCE)?.content);
        data.expect(der::INTEGER)?;
        data.expect(der::SET)?;
        let mut encapsulated = Reader::new(data.expect(der::SEQUENCE)?.content);
        if encapsulated.expect(der::OID)?.content != DATA {
            return None;
        }
        let has_content = encapsulated.optional(der::context(0))?.is_some();
        let certificates = match data.optional(der::context(0))? {
            Some(set) => all(set.content)?,
            None => Vec::new(),
        };
        data.optional(der::context(1))?;
        let signers = all(data.expect(der::SET)?.content)?;
        let certificates =
            certificates.iter().filter(|c| c.tag == der::SEQUENCE).map(|c| c.whole).collect();
        Some(Self { has_content, certificates, signers })
    }
}

fn all(content: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut reader = Reader::new(content);
    let mut elements = Vec::new();
    while !reader.is_empty() {
        elements.push(reader.next()?);
    }
    Some(elements)
}

/// How a signer's certificate is named.
enum SignerId<'a> {
    /// DER of the issuer's name, and the serial number without leading zeros.
    IssuerAndSerial {
        issuer: &'a [u8],
        serial: &'a [u8],
    },
    KeyId(&'a [u8]),
}

struct SignerInfo<'a> {
    id: SignerId<'a>,
    digest: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignerInfo<'a> {
    fn read(info: &Element<'a>) -> Option<Self> {
        let mut info = Reader::new(info.content);
        info.expect(der::INTEGER)?;
        let id = info.next()?;
        let id = match id.tag {
            der::SEQUENCE => {
                let mut pair = Reader::new(id.content);
                let issuer = pair.expect(der::SEQUENCE)?.whole;
                let serial = pair.expect(der::INTEGER)?.content;
                if serial.first()? & 0x80 != 0 {
                    return None;
                }
                let zeros = serial.iter().take_while(|b| **b == 0).count();
                SignerId::IssuerAndSerial { issuer, serial: &serial[zeros..] }
            }
            // [0] IMPLICIT OCTET STRING: primitive.
            0x80 => SignerId::KeyId(id.content),
            _ => return None,
        };
        let digest = algorithm(info.expect(der::SEQUENCE)?)?;
        info.optional(der::context(0))?;
        let signature = algorithm(info.expect(der::SEQUENCE)?)?;
        info.expect(der::OCTET_STRING)?;
        Some(Self { id, digest, signature })
    }
}

fn algorithm(identifier: Element<'_>) -> Option<&[u8]> {
    Reader::new(identifier.content).expect(der::OID).map(|oid| oid.content)
}

fn certificate(bag: &[&[u8]], info: &SignerInfo<'_>) -> Result<X509, Refusal> {
    for der in bag {
        let Ok(certificate) = X509::from_der(der) else { continue };
        let found = match &info.id {
            SignerId::IssuerAndSerial { issuer, serial } => {
                let name = certificate.issuer_name().to_der();
                let number = certificate.serial_number().to_bn();
                name.is_ok_and(|name| name == *issuer)
                    && number.is_ok_and(|n| !n.is_negative() && n.to_vec() == *serial)
            }
            SignerId::KeyId(id) => {
                certificate.subject_key_id().is_some_and(|key| key.as_slice() == *id)
            }
        };
        if found {
            return Ok(certificate);
        }
    }
    Err(wrong("the signer's certificate is not in the message"))
}

/// Digests and signature algorithms by the content of their OIDs; the last of each is SHA-1's.
fn check_algorithms(info: &SignerInfo<'_>, rules: &Rules) -> Result<(), Refusal> {
    const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];
    /// 2.16.840.1.101.3.4.2: SHA-256, 384, 512.
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];
    /// 1.2.840.113549.1.1: rsaEncryption, sha256, 384, 512 WithRSA; 5 is sha1WithRSA.
    const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
    /// 1.2.840.10045.4.3: ecdsa-with-SHA256, 384, 512.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    let one_of = |oid: &[u8], arc: &[u8], ends: &[u8]| matches!(oid.strip_prefix(arc), Some([end]) if ends.contains(end));
    let sha1 =
        info.digest == SHA1 || one_of(info.signature, PKCS1, &[5]) || info.signature == ECDSA_SHA1;
    if sha1 && !rules.allow_sha1 {
        return Err(wrong(
            "it is made with SHA-1, which can be forged; allow-sha1 accepts it for this subscription",
        ));
    }
    if info.digest != SHA1 && !one_of(info.digest, SHA2, &[1, 2, 3]) {
        return Err(wrong("its digest is none of SHA-256, SHA-384 and SHA-512"));
    }
    let known = one_of(info.signature, PKCS1, &[1, 5, 11, 12, 13])
        || one_of(info.signature, ECDSA, &[2, 3, 4])
        || info.signature == ECDSA_SHA1
        || info.signature == ED25519;
    if known { Ok(()) } else { Err(wrong("it is none of RSA (PKCS#1), ECDSA and Ed25519")) }
}

pub(crate) fn check_key(key: &PKeyRef<Public>) -> Result<(), Refusal> {
    match key.id() {
        Id::RSA if (2048..=8192).contains(&key.bits()) => Ok(()),
        Id::RSA => Err(wrong(format!("the RSA key has {} bits, not 2048 to 8192", key.bits()))),
        Id::EC => {
            let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
            match curve {
                Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1) => Ok(()),
                _ => Err(wrong("the key's curve is neither P-256 nor P-384")),
            }
        }
        Id::ED25519 => Ok(()),
        _ => Err(wrong("the key is none of RSA, P-256, P-384 and Ed25519")),
    }
}

/// Subject and issuer of a certificate.
pub(crate) fn principal(certificate: &X509) -> name::Principal {
    name::Principal {
        subject: name::one_line(certificate.subject_name()),
        issuer: name::one_line(certificate.issuer_name()),
    }
}
