//! The signature: one signer whose certificate is in the message, a digest and a key that are strong enough.

use cms::{
    content_info::{CmsVersion, ContentInfo},
    signed_data::{EncapsulatedContentInfo, SignerIdentifier, SignerInfo, SignerInfos},
};
use const_oid::db::{
    rfc5911::{ID_DATA, ID_SIGNED_DATA},
    rfc5912::{
        ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_SHA_1, ID_SHA_256,
        ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION, SHA_1_WITH_RSA_ENCRYPTION,
        SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
    },
    rfc8410::ID_ED_25519,
};
use der::{
    Any, Decode, Encode, Sequence, Tag, Tagged,
    asn1::{ObjectIdentifier, SetOfVec},
};
use openssl::{
    cms::{CMSOptions, CmsContentInfo},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKeyRef, Public},
    stack::Stack,
    x509::X509,
};
use serde::{Deserialize, Serialize};
use spki::AlgorithmIdentifierOwned;

use crate::{envelope::Envelope, error::Refusal, name};

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
    let data = signed_data(&der).ok_or_else(|| wrong("it is no signed data of the usual form"))?;
    let has_content = data.content.econtent.is_some();
    if has_content == envelope.content.is_some() {
        return Err(wrong(if has_content {
            "it holds a second text beside the one in the message"
        } else {
            "it holds no text"
        }));
    }
    let [info] = data.signer_infos.0.as_slice() else {
        let signers = data.signer_infos.0.len();
        return Err(wrong(format!("it has {signers} signers instead of one")));
    };
    check_algorithms(info, rules)?;
    let signer = certificate(data.certificates.iter().flat_map(SetOfVec::iter), info)?;
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

/// SignedData (RFC 5652, section 5.1). That of the library reads certificates and CRLs too, more strictly than OpenSSL,
/// and would write them anew: here they stay the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
struct SignedData {
    version: CmsVersion,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: EncapsulatedContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    crls: Option<SetOfVec<Any>>,
    signer_infos: SignerInfos,
}

fn signed_data(bytes: &[u8]) -> Option<SignedData> {
    let info = ContentInfo::from_der(bytes).ok()?;
    if info.content_type != ID_SIGNED_DATA {
        return None;
    }
    let data: SignedData = info.content.decode_as().ok()?;
    (data.content.econtent_type == ID_DATA).then_some(data)
}

/// The certificate of who signed, among those of the message.
fn certificate<'a>(bag: impl Iterator<Item = &'a Any>, info: &SignerInfo) -> Result<X509, Refusal> {
    for one in bag.filter(|one| one.tag() == Tag::Sequence) {
        let Ok(der) = one.to_der() else { continue };
        let Ok(certificate) = X509::from_der(&der) else { continue };
        let found = match &info.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                let (own, named) = (certificate.issuer_name().to_der(), id.issuer.to_der());
                let zeros = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == 0).count();
                let serial = id.serial_number.as_bytes();
                let is_negative = serial.first().is_some_and(|first| first & 0x80 != 0);
                let number = certificate.serial_number().to_bn();
                own.is_ok_and(|own| named.is_ok_and(|named| own == named))
                    && !is_negative
                    && number
                        .is_ok_and(|n| !n.is_negative() && n.to_vec() == serial[zeros(serial)..])
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                certificate.subject_key_id().is_some_and(|key| key.as_slice() == id.0.as_bytes())
            }
        };
        if found {
            return Ok(certificate);
        }
    }
    Err(wrong("the signer's certificate is not in the message"))
}

/// The one that the library's list lacks.
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

fn check_algorithms(info: &SignerInfo, rules: &Rules) -> Result<(), Refusal> {
    let (digest, signature) = (info.digest_alg.oid, info.signature_algorithm.oid);
    let sha1 =
        digest == ID_SHA_1 || matches!(signature, SHA_1_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_1);
    if sha1 && !rules.allow_sha1 {
        return Err(wrong(
            "it is made with SHA-1, which can be forged; allow-sha1 accepts it for this subscription",
        ));
    }
    if !matches!(digest, ID_SHA_1 | ID_SHA_256 | ID_SHA_384 | ID_SHA_512) {
        return Err(wrong("its digest is none of SHA-256, SHA-384 and SHA-512"));
    }
    match signature {
        RSA_ENCRYPTION
        | SHA_1_WITH_RSA_ENCRYPTION
        | SHA_256_WITH_RSA_ENCRYPTION
        | SHA_384_WITH_RSA_ENCRYPTION
        | SHA_512_WITH_RSA_ENCRYPTION
        | ECDSA_WITH_SHA_1
        | ECDSA_WITH_SHA_256
        | ECDSA_WITH_SHA_384
        | ECDSA_WITH_SHA_512
        | ID_ED_25519 => Ok(()),
        _ => Err(wrong("it is none of RSA (PKCS#1), ECDSA and Ed25519")),
    }
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
