//! Signing an archive by ETSI's second option: CMS as `openssl cms -sign -binary` makes it, and the outer zip.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{
        CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo,
        SignerInfos,
    },
};
use const_oid::db::{
    rfc5911::{ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNED_DATA},
    rfc5912::{
        ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, ID_SHA_256, ID_SHA_384,
        ID_SHA_512, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1,
    },
    rfc8410::ID_ED_25519,
};
use der::{
    Any, Encode, Tag,
    asn1::{ObjectIdentifier, OctetString, SetOfVec},
};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use x509_cert::{Certificate, attr::Attribute, spki::AlgorithmIdentifierOwned};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{AuthorError, io_at, lint};
use crate::{
    cms::{self as own, Content, Hash},
    limits::Limits,
    manifest::certificates,
    package::Package,
    problem::{Code, Problem},
    sign::{Policy, Trust, TrustedKey},
};

/// A certificate with its key, to sign archives with.
pub struct Signer {
    /// The signer's own first, then those above it.
    certificates: Vec<Certificate>,
    /// As it was given.
    text: String,
    key: Key,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref(),
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }
}

fn wrong(what: impl Into<String>) -> Problem {
    Problem::new(Code::Signature, what)
}

impl Signer {
    /// Reads a certificate, or several of a chain, the signer's first, and the signer's key: PEM, the key as PKCS #8
    /// without a password.
    ///
    /// # Errors
    /// When they are no such thing, or of a kind that is not accepted in packages.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, Problem> {
        let all = certificates(certificate.as_bytes())?;
        let key = own::pem(key, &["PRIVATE KEY"]).unwrap_or_default().pop().ok_or_else(|| {
            wrong("no private key as PKCS #8 without a password; `openssl pkcs8 -topk8 -nodes` writes one")
        })?;
        let spki = &all[0].tbs_certificate.subject_public_key_info;
        let parameters = spki.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        let random = SystemRandom::new();
        let key = match (spki.algorithm.oid, curve) {
            (RSA_ENCRYPTION, _) => {
                RsaKeyPair::from_pkcs8(&key).map(|pair| Key::Rsa(Box::new(pair)))
            }
            (ID_EC_PUBLIC_KEY, Some(SECP_256_R_1)) => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random)
                    .map(Key::P256)
            }
            (ID_EC_PUBLIC_KEY, Some(SECP_384_R_1)) => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &key, &random)
                    .map(Key::P384)
            }
            (ID_ED_25519, _) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).map(Key::Ed25519),
            _ => {
                let what =
                    "the certificate's key is none of RSA, ECDSA on P-256 or P-384, and Ed25519";
                return Err(Problem::new(Code::Algorithm, what));
            }
        };
        let key = key.map_err(|error| {
            let what = "it must be of the certificate's kind, RSA of 2048 to 4096 bits";
            wrong(format!("the private key cannot be used ({error}); {what}"))
        })?;
        if Some(key.public()) != spki.subject_public_key.as_bytes() {
            return Err(wrong("the private key is not the certificate's"));
        }
        Ok(Self { certificates: all, text: certificate.to_owned(), key })
    }

    /// The CMS signature of a file, DER.
    fn sign(&self, file: &File) -> Result<Vec<u8>, Problem> {
        let (hash, digest_oid, algorithm) = match self.key {
            Key::Rsa(_) => (Hash::Sha256, ID_SHA_256, RSA_ENCRYPTION),
            Key::P256(_) => (Hash::Sha256, ID_SHA_256, ECDSA_WITH_SHA_256),
            Key::P384(_) => (Hash::Sha384, ID_SHA_384, ECDSA_WITH_SHA_384),
            Key::Ed25519(_) => (Hash::Sha512, ID_SHA_512, ID_ED_25519),
        };
        let digest = Content::File(file).digest(hash)?;
        self.message(digest, digest_oid, algorithm)
            .map_err(|error| wrong(format!("the signature cannot be made ({error})")))
    }

    fn message(
        &self,
        digest: Vec<u8>,
        digest_oid: ObjectIdentifier,
        algorithm: ObjectIdentifier,
    ) -> der::Result<Vec<u8>> {
        let attribute = |oid, value| {
            Ok::<_, der::Error>(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
        };
        let attributes = SetOfVec::try_from(vec![
            attribute(ID_CONTENT_TYPE, Any::encode_from(&ID_DATA)?)?,
            attribute(ID_MESSAGE_DIGEST, Any::encode_from(&OctetString::new(digest)?)?)?,
        ])?;
        let signature =
            self.raw(&attributes.to_der()?).ok_or_else(|| Tag::OctetString.value_error())?;
        let signer = &self.certificates[0].tbs_certificate;
        let digest_alg = AlgorithmIdentifierOwned { oid: digest_oid, parameters: None };
        let parameters = matches!(self.key, Key::Rsa(_)).then(Any::null);
        let info = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: signer.issuer.clone(),
                serial_number: signer.serial_number.clone(),
            }),
            digest_alg: digest_alg.clone(),
            signed_attrs: Some(attributes),
            signature_algorithm: AlgorithmIdentifierOwned { oid: algorithm, parameters },
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let all = self.certificates.iter().cloned().map(CertificateChoices::Certificate);
        let data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![digest_alg])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
            certificates: Some(CertificateSet(SetOfVec::try_from(all.collect::<Vec<_>>())?)),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![info])?),
        };
        ContentInfo { content_type: ID_SIGNED_DATA, content: Any::encode_from(&data)? }.to_der()
    }

    fn raw(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Key::P256(pair) | Key::P384(pair) => {
                Some(pair.sign(&random, message).ok()?.as_ref().to_vec())
            }
            Key::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// Wraps an archive with its signature and the certificate into `output`, and checks the outcome as a store would that
/// trusts the certificate.
///
/// # Errors
/// When a file cannot be read or written, or the archive is refused; then nothing is left in `output`'s place.
pub fn envelop(
    archive: &Path,
    signer: &Signer,
    output: &Path,
    limits: &Limits,
) -> Result<Package, AuthorError> {
    let name = archive.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = match name.rsplit_once('.') {
        Some((stem, end))
            if !stem.is_empty()
                && (end.eq_ignore_ascii_case("zip") || end.eq_ignore_ascii_case("csar")) =>
        {
            stem
        }
        _ => {
            let what = "only a .zip or .csar is signed so; `vnf pack -o NAME.zip` makes one";
            return Err(Problem::new(Code::Format, what).entry(name).into());
        }
    };
    let mut file = File::open(archive).map_err(io_at("open", archive))?;
    let signature = signer.sign(&file)?;
    let text = &signer.text;
    let trust = Trust {
        policy: Policy::Require,
        keys: vec![TrustedKey::of(stem, signer.certificates[0].clone())],
    };
    let written = File::create(output).map_err(io_at("write", output)).and_then(|out| {
        let mut zip = ZipWriter::new(out);
        let mut add = |end: &str, from: &mut dyn io::Read| {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .unix_permissions(0o644);
            zip.start_file(end, options)?;
            io::copy(from, &mut zip)
        };
        add(name, &mut file)
            .and_then(|_| add(&format!("{stem}.cms"), &mut signature.as_slice()))
            .and_then(|_| add(&format!("{stem}.cert"), &mut text.as_bytes()))
            .and_then(|_| zip.finish()?.flush())
            .map_err(io_at("write", output))
    });
    let result = written.and_then(|()| lint(output, limits, &trust));
    if result.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(output);
    }
    result
}
