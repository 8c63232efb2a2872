//! Who signed a package, and whether that counts: by keys and signatures of minisign's form, or by certificates and CMS.

use std::{fs, io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use minisign_verify::{PublicKey, Signature as Minisign};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;

use crate::{
    cms::{self, Content},
    problem::{Code, Problem},
};

/// When a package must be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Signatures are not looked at.
    Off,
    #[default]
    VerifyIfPresent,
    Require,
}

/// Whose signatures count.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pub policy: Policy,
    pub keys: Vec<TrustedKey>,
}

/// A key or a certificate, and the names it may sign.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Where it came from, for people.
    pub name: String,
    form: Form,
    /// Names, of which a `*` at the end stands for anything; none: all.
    patterns: Vec<String>,
}

#[derive(Debug, Clone)]
enum Form {
    Minisign {
        key: PublicKey,
        id: Option<[u8; 8]>,
    },
    /// Of who signs, or of an authority.
    Certificate(Box<Certificate>),
}

/// What was found out about a package's signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    #[default]
    None,
    /// By the key of this name.
    Verified(String),
    /// There is one, and it was not looked at.
    Unchecked,
}

impl TrustedKey {
    /// Reads a key, minisign's two lines, or a certificate in PEM; if it may not sign everything, a line
    /// `names: PATTERN ...` beside it.
    ///
    /// # Errors
    /// When it is no key.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self, Problem> {
        let name = name.into();
        let patterns = text.lines().filter_map(|line| line.strip_prefix("names:"));
        let patterns: Vec<String> =
            patterns.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect();
        if text.contains("-----BEGIN CERTIFICATE-----") {
            let wrong = || Problem::new(Code::Untrusted, format!("`{name}` is no certificate"));
            let mut all = cms::pem(text, &["CERTIFICATE"]).ok_or_else(wrong)?;
            if all.len() > 1 {
                let what = format!("`{name}` holds several certificates; give each a file");
                return Err(Problem::new(Code::Untrusted, what));
            }
            let certificate = all.pop().and_then(|der| cms::certificate(&der));
            let form = Form::Certificate(Box::new(certificate.ok_or_else(wrong)?));
            return Ok(Self { name, form, patterns });
        }
        let lines = text.lines().filter(|line| !line.starts_with("untrusted comment:"));
        let mut lines = lines.filter(|line| !line.trim().is_empty());
        let key = lines.next().unwrap_or_default().trim();
        let id = id_of(key);
        let key = PublicKey::from_base64(key).map_err(|error| {
            Problem::new(Code::Untrusted, format!("`{name}` is no public key ({error})"))
        })?;
        Ok(Self { name, form: Form::Minisign { key, id }, patterns })
    }

    /// A certificate that may sign everything.
    pub(crate) fn of(name: &str, certificate: Certificate) -> Self {
        let form = Form::Certificate(Box::new(certificate));
        Self { name: name.to_owned(), form, patterns: Vec::new() }
    }

    fn may_sign(&self, name: &str) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => pattern == name,
            })
    }
}

impl Trust {
    /// All keys of a folder, files that end in `.pub`, and certificates, `.pem` or `.crt`. A folder that is not there
    /// holds none.
    ///
    /// # Errors
    /// When it cannot be read, or a file in it is no key.
    pub fn from_folder(policy: Policy, folder: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            Problem::new(
                Code::Untrusted,
                format!("cannot read the keys in `{}` ({error})", folder.display()),
            )
        };
        let mut keys = Vec::new();
        match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(failed)?.path();
                    if path
                        .extension()
                        .is_some_and(|end| end == "pub" || end == "pem" || end == "crt")
                    {
                        let text = fs::read_to_string(&path).map_err(failed)?;
                        let name = path.file_stem().unwrap_or_default().to_string_lossy();
                        keys.push(TrustedKey::parse(name, &text)?);
                    }
                }
            }
        }
        keys.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { policy, keys })
    }

    /// Whether `signature` over `bytes` counts for the package `name`; gives the key's name. `beside`: certificates that
    /// the package carries apart from a CMS signature.
    pub(crate) fn verify(
        &self,
        name: &str,
        bytes: &[u8],
        signature: &[u8],
        beside: &[Certificate],
    ) -> Result<String, Problem> {
        if cms::is_cms(signature) {
            return self.verify_cms(name, Content::Bytes(bytes), signature, beside);
        }
        let text = String::from_utf8_lossy(signature);
        let signature = Minisign::decode(text.trim_end()).map_err(|error| {
            Problem::new(Code::Signature, format!("no signature of minisign's form ({error})"))
        })?;
        let signer = text.lines().nth(1).and_then(id_of);
        let mut right = None;
        for trusted in &self.keys {
            if let Form::Minisign { key, .. } = &trusted.form
                && key.verify(bytes, &signature, true).is_ok()
            {
                right = Some(trusted);
                if trusted.may_sign(name) {
                    return Ok(trusted.name.clone());
                }
            }
        }
        if let Some(key) = right {
            return Err(key.not_for(name));
        }
        let known = self.keys.iter().any(
            |key| matches!(&key.form, Form::Minisign { id, .. } if id.is_some() && *id == signer),
        );
        Err(if known {
            Problem::new(Code::Signature, "the signature is of other bytes")
        } else {
            Problem::new(Code::Untrusted, "signed by a key that is not trusted here")
        })
    }
}

impl Trust {
    /// As [`Trust::verify`], of a signature that must be CMS.
    pub(crate) fn verify_cms(
        &self,
        name: &str,
        content: Content<'_>,
        signature: &[u8],
        beside: &[Certificate],
    ) -> Result<String, Problem> {
        let certificates: Vec<(&TrustedKey, &Certificate)> = self
            .keys
            .iter()
            .filter_map(|key| match &key.form {
                Form::Certificate(certificate) => Some((key, certificate.as_ref())),
                Form::Minisign { .. } => None,
            })
            .collect();
        let trusted: Vec<&Certificate> = certificates.iter().map(|(_, one)| *one).collect();
        let found = cms::check(signature, content, beside, &trusted)?;
        let (key, _) = certificates[found];
        if key.may_sign(name) { Ok(key.name.clone()) } else { Err(key.not_for(name)) }
    }
}

impl TrustedKey {
    fn not_for(&self, name: &str) -> Problem {
        let what = format!("the key `{}` may not sign packages named {name}", self.name);
        Problem::new(Code::Untrusted, what)
    }
}

/// The eight bytes that name the key, in a key as in a signature: behind two letters.
fn id_of(base64: &str) -> Option<[u8; 8]> {
    STANDARD.decode(base64.trim()).ok()?.get(2..10)?.try_into().ok()
}

/// A key that signs. Its file holds the seed unencrypted: keep it as a private SSH key.
pub struct SecretKey {
    id: [u8; 8],
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

const SECRET: &str = "vnode package key, secret";

impl SecretKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate() -> Result<Self, Problem> {
        let random = SystemRandom::new();
        let (mut id, mut seed) = ([0; 8], [0; 32]);
        let filled = random.fill(&mut id).and_then(|()| random.fill(&mut seed));
        filled.map_err(|_| Problem::new(Code::Signature, "the kernel gives no random bytes"))?;
        Self::of(id, seed)
    }

    fn of(id: [u8; 8], seed: [u8; 32]) -> Result<Self, Problem> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| Problem::new(Code::Signature, "no key can be made of this seed"))?;
        Ok(Self { id, seed, pair })
    }

    /// Reads what [`SecretKey::to_text`] wrote.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(
                Code::Signature,
                "no secret key of ours; `vnf sign --new-key FILE` makes one",
            )
        };
        let mut lines = text.lines();
        if lines.next() != Some(SECRET) {
            return Err(wrong());
        }
        let bytes =
            lines.next().and_then(|line| STANDARD.decode(line.trim()).ok()).ok_or_else(wrong)?;
        let id = bytes.get(..8).and_then(|id| id.try_into().ok()).ok_or_else(wrong)?;
        let seed = bytes.get(8..).and_then(|seed| seed.try_into().ok()).ok_or_else(wrong)?;
        Self::of(id, seed)
    }

    /// As its file holds it.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{SECRET}\n{}\n", STANDARD.encode([&self.id[..], &self.seed[..]].concat()))
    }

    /// The public key, as minisign writes it.
    #[must_use]
    pub fn public(&self) -> String {
        let bytes = [b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat();
        format!("untrusted comment: vnode package key\n{}\n", STANDARD.encode(bytes))
    }

    /// A signature over `bytes`, in minisign's form.
    #[must_use]
    pub fn sign(&self, bytes: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(bytes);
        let global = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let first = STANDARD.encode([b"Ed", &self.id[..], signature.as_ref()].concat());
        let second = STANDARD.encode(global.as_ref());
        format!(
            "untrusted comment: signature of a vnode package\n{first}\ntrusted comment: {comment}\n{second}\n"
        )
    }
}
