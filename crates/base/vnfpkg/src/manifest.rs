//! Digests of files and the signature over them, in the forms of our own packages and of ETSI's.

use std::{collections::BTreeMap, io::Read};

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;

use crate::{
    cms::{self, Content},
    descriptor::Expected,
    envelope::Envelope,
    foreign,
    package::{Again, Form, Integrity, walk},
    problem::{Code, Problem},
    sign::{Policy, Signature},
    tree::{Entry, Kind, hex},
};

/// A digest that is being made.
enum Hasher {
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// The algorithm of that name, however it is written: `sha256`, `SHA-256`.
    fn named(name: &str, csar: bool) -> Result<Self, Problem> {
        let plain: String =
            name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.as_str() {
            "sha256" => Ok(Self::Sha256(Sha256::new())),
            "sha512" => Ok(Self::Sha512(Sha512::new())),
            "sha224" if csar => Ok(Self::Sha224(Sha224::new())),
            "sha384" if csar => Ok(Self::Sha384(Sha384::new())),
            _ => {
                let what = format!(
                    "the digest algorithm `{}` is not accepted; use SHA-256 or SHA-512",
                    name.escape_debug()
                );
                Err(Problem::new(Code::Algorithm, what))
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha224(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
            Self::Sha384(digest) => digest.update(bytes),
            Self::Sha512(digest) => digest.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Sha224(digest) => hex(&digest.finalize()),
            Self::Sha256(digest) => hex(&digest.finalize()),
            Self::Sha384(digest) => hex(&digest.finalize()),
            Self::Sha512(digest) => hex(&digest.finalize()),
        }
    }
}

/// Checks all that the package says of itself.
pub(crate) fn check(package: &Integrity<'_>) -> Result<Signature, Problem> {
    let within = |path: &str| {
        if package.root.is_empty() { path.to_owned() } else { format!("{}/{path}", package.root) }
    };
    let kept = |path: &str| {
        let member = package.listing.file(&within(path))?;
        member.kept.as_deref()
    };
    let outer = package.envelope.map(|envelope| outer(package, envelope)).transpose()?;
    let mut signed: Option<(&[u8], &[u8], String)> = None;
    let mut beside = Vec::new();
    let csar = match package.form {
        Form::Csar => Some(foreign::csar(package.listing, package.root)?),
        _ => None,
    };
    if let Some(csar) = &csar {
        // A signature speaks for what the manifest lists, and must not for what was added to it.
        let counts = csar.signed.is_some()
            && package.trust.policy != Policy::Off
            && !package.trust.keys.is_empty();
        let apart: Vec<&str> =
            csar.apart.iter().chain(&csar.certificate).map(String::as_str).collect();
        digests(package, &csar.files, counts, &apart)?;
        if let Some(path) = &csar.certificate
            && let Some(text) = kept(path)
        {
            beside = certificates(text).map_err(|problem| problem.entry(path))?;
        }
        if let Some((text, signature)) = &csar.signed {
            let file = csar.apart.last().cloned().unwrap_or_default();
            signed = Some((text.as_bytes(), signature.as_bytes(), file));
        }
    }
    let own = package.descriptor.signature.clone();
    if let Some(text) = kept("MANIFEST") {
        let files = lines(text)?;
        let file = own.unwrap_or_else(|| "MANIFEST.sig".to_owned());
        digests(package, &files, true, &["MANIFEST", &file])?;
        if let Some(signature) = kept(&file) {
            signed = Some((text, signature, file));
        }
    } else if let Some((files, complete)) = &package.descriptor.manifest {
        let file = own.unwrap_or_else(|| "lifecycle.json.sig".to_owned());
        digests(package, files, *complete, &["lifecycle.json", &file])?;
        if let (Some(text), Some(signature)) = (kept("lifecycle.json"), kept(&file)) {
            signed = Some((text, signature, file));
        }
    } else if package.listing.get(&within("MANIFEST")).is_some() {
        return Err(
            Problem::new(Code::Manifest, "the manifest is too large, or no file").entry("MANIFEST")
        );
    }
    match (package.trust.policy, signed) {
        // It covers every byte; who signed what is within need not be known here.
        _ if matches!(outer, Some(Signature::Verified(_))) => Ok(outer.unwrap_or_default()),
        (Policy::Off, Some(_)) => Ok(Signature::Unchecked),
        // Who signed cannot be known where no key is: only that the files are as listed.
        (Policy::VerifyIfPresent, Some(_)) if package.trust.keys.is_empty() => {
            Ok(Signature::Unchecked)
        }
        (_, Some((bytes, signature, file))) => {
            let name = &package.descriptor.name;
            let key = package.trust.verify(name, bytes, signature, &beside);
            key.map(Signature::Verified).map_err(|problem| problem.entry(file))
        }
        (Policy::Require, None) => {
            let what = "the package is not signed, and this store takes signed packages only; `vnf sign` signs it";
            Err(Problem::new(Code::Signature, what))
        }
        (_, None) => Ok(outer.unwrap_or_default()),
    }
}

/// What the signature in the outer archive is worth.
fn outer(package: &Integrity<'_>, envelope: &Envelope) -> Result<Signature, Problem> {
    let trust = package.trust;
    if trust.policy == Policy::Off
        || (trust.policy == Policy::VerifyIfPresent && trust.keys.is_empty())
    {
        return Ok(Signature::Unchecked);
    }
    let (name, content) = (&package.descriptor.name, Content::File(package.file));
    trust
        .verify_cms(name, content, &envelope.signature, &envelope.certificates)
        .map(Signature::Verified)
        .map_err(|problem| problem.entry(&envelope.signed_by))
}

/// The certificates of a file, PEM or DER.
pub(crate) fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, Problem> {
    let all = match str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => {
            let blocks = cms::pem(text, &["CERTIFICATE"]).unwrap_or_default();
            blocks.iter().map(|der| cms::certificate(der)).collect()
        }
        _ => cms::certificate(bytes).map(|one| vec![one]),
    };
    let all = all.filter(|all: &Vec<Certificate>| !all.is_empty());
    all.ok_or_else(|| Problem::new(Code::Signature, "holds no certificate"))
}

/// `ALGORITHM HEX PATH`, one line for each file.
fn lines(text: &[u8]) -> Result<BTreeMap<String, Expected>, Problem> {
    let wrong = |what: String| Problem::new(Code::Manifest, what).entry("MANIFEST");
    let text = str::from_utf8(text).map_err(|_| wrong("no UTF-8".to_owned()))?;
    let mut files = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let (Some(algorithm), Some(hex), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return Err(wrong(format!("line {number} is not `ALGORITHM HEX PATH`")));
        };
        let expected = Expected { algorithm: algorithm.to_owned(), hex: hex.to_owned() };
        if files.insert(path.trim().to_owned(), expected).is_some() {
            return Err(wrong(format!("line {number} names a file that was named before")));
        }
    }
    Ok(files)
}

/// Compares files with their digests; `complete`: every file but `apart` must be listed.
fn digests(
    package: &Integrity<'_>,
    files: &BTreeMap<String, Expected>,
    complete: bool,
    apart: &[&str],
) -> Result<(), Problem> {
    let csar = package.form == Form::Csar;
    let below = package.listing.below(package.root);
    let mut others: BTreeMap<&str, &Expected> = BTreeMap::new();
    for (path, expected) in files {
        if path.split_once(':').is_some_and(|(scheme, _)| scheme.len() > 1 && !scheme.contains('/'))
        {
            let what = "is elsewhere: nothing is fetched; put the file into the package";
            return Err(Problem::new(Code::ManifestRemote, what).entry(path));
        }
        Hasher::named(&expected.algorithm, csar).map_err(|problem| problem.entry(path))?;
        let path = path.strip_prefix("./").unwrap_or(path);
        let Some(member) =
            below.get(path).and_then(|member| package.listing.file(&member.entry.path))
        else {
            let what = "is in the manifest and not in the archive";
            return Err(Problem::new(Code::Manifest, what).entry(path));
        };
        let plain = expected.algorithm.to_ascii_lowercase().replace('-', "");
        if plain == "sha256" {
            compare(path, expected, &hex(&member.sha256))?;
        } else {
            others.insert(path, expected);
        }
    }
    if complete {
        let listed =
            |path: &str| files.contains_key(path) || files.contains_key(&format!("./{path}"));
        let missing = below.iter().find(|(path, member)| {
            member.entry.kind != Kind::Folder
                && !matches!(member.entry.kind, Kind::Symlink(_))
                && !apart.contains(*path)
                && !listed(path)
        });
        if let Some((path, _)) = missing {
            let what = "is in the archive and not in the manifest";
            return Err(Problem::new(Code::Manifest, what).entry(*path));
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    let then = |path: &str, _: &Entry, data: &mut dyn Read| {
        let Some(expected) = others.get(path) else { return Ok(()) };
        let mut hasher = Hasher::named(&expected.algorithm, csar)?;
        let mut buffer = [0; 16 << 10];
        loop {
            let read = data.read(&mut buffer).map_err(|error| {
                crate::decode::problem_of(error, package.packing, true).entry(path)
            })?;
            if read == 0 {
                return compare(path, expected, &hasher.finish());
            }
            hasher.update(&buffer[..read]);
        }
    };
    let mut again = Again { listing: package.listing, root: package.root, at: 0, then };
    walk(package.file, package.packing, package.limits, &mut again)
}

fn compare(path: &str, expected: &Expected, found: &str) -> Result<(), Problem> {
    if expected.hex.eq_ignore_ascii_case(found) {
        return Ok(());
    }
    let what = format!(
        "its {} is {found}, and the manifest says {}",
        expected.algorithm,
        expected.hex.escape_debug()
    );
    Err(Problem::new(Code::Digest, what).entry(path))
}
