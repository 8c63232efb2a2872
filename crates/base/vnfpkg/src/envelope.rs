//! ETSI SOL004's second security option: the package in an outer zip, beside its signature and the signer's certificate.
//!
//! ```text
//! outer.zip
//! ├─ NAME.zip or NAME.csar    the package, signed byte for byte
//! ├─ NAME.cms                 the CMS signature, DER or PEM; also .sig, .p7s
//! └─ NAME.cert                the certificate, when it is not in the signature; also .crt, .pem
//! ```
//!
//! Nothing else may be in it: what is not signed would come along with what is.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use x509_cert::Certificate;

use crate::{
    cms,
    decode::Packing,
    limits::Limits,
    manifest::certificates,
    package::{Again, Listed, walk},
    problem::{Code, Problem},
    tree::{Entry, Kind},
};

const PACKAGES: &[&str] = &["zip", "csar"];
const SIGNATURES: &[&str] = &["cms", "sig", "p7s"];
const CERTIFICATES: &[&str] = &["cert", "crt", "pem"];

/// What was beside the package.
pub(crate) struct Envelope {
    /// The file of the signature.
    pub(crate) signed_by: String,
    pub(crate) signature: Vec<u8>,
    pub(crate) certificates: Vec<Certificate>,
}

/// Name and ending of a file at the root.
fn split(path: &str) -> Option<(&str, String)> {
    let (stem, end) = path.rsplit_once('.')?;
    (!path.contains('/') && !stem.is_empty()).then(|| (stem, end.to_ascii_lowercase()))
}

impl Envelope {
    /// What an archive envelops, if it is such an outer archive: signature and certificates, and the package in a file
    /// without a name below `scratch`.
    pub(crate) fn find(
        file: &File,
        listed: &Listed,
        limits: &Limits,
        scratch: &Path,
    ) -> Result<Option<(Self, File)>, Problem> {
        let members = &listed.listing.members;
        let of = |endings: &[&str]| -> Vec<(&str, &str)> {
            let named = members.iter().filter_map(|member| {
                let (stem, end) = split(&member.entry.path)?;
                (endings.contains(&end.as_str())).then_some((stem, member.entry.path.as_str()))
            });
            named.collect()
        };
        let (packages, signatures) = (of(PACKAGES), of(SIGNATURES));
        let own = ["lifecycle.json", "vnfd.json", "TOSCA-Metadata/TOSCA.meta"];
        if listed.packing != Packing::Zip
            || packages.is_empty()
            || signatures.is_empty()
            || own.iter().any(|path| listed.listing.get(path).is_some())
        {
            return Ok(None);
        }
        let wrong = |path: &str, what: &str| Err(Problem::new(Code::Manifest, what).entry(path));
        let [(name, package)] = packages[..] else {
            return wrong(packages[1].1, "a second package in the outer archive");
        };
        let [(signed, signature)] = signatures[..] else {
            return wrong(signatures[1].1, "a second signature in the outer archive");
        };
        if signed != name {
            return wrong(
                signature,
                &format!("the signature of `{package}` is named `{name}.cms`"),
            );
        }
        let beside: Vec<_> = of(CERTIFICATES);
        for member in members {
            let path = member.entry.path.as_str();
            let known = path == package
                || path == signature
                || beside.iter().any(|(stem, certificate)| *certificate == path && *stem == name);
            if !known || member.entry.kind != Kind::File {
                return wrong(
                    path,
                    "an outer archive holds the package, its signature and the certificate, and nothing else",
                );
            }
        }
        let kept = |path: &str| {
            let member = listed.listing.file(path).and_then(|member| member.kept.clone());
            member.ok_or_else(|| {
                Problem::new(Code::Signature, "too large for a signature or a certificate")
                    .entry(path)
            })
        };
        let bytes = kept(signature)?;
        if !cms::is_cms(&bytes) {
            let what = "no CMS signature; make it with `openssl cms -sign -binary`";
            return Err(Problem::new(Code::Signature, what).entry(signature));
        }
        let mut found = Vec::new();
        for (_, path) in &beside {
            let text = kept(path)?;
            found.extend(certificates(&text).map_err(|problem| problem.entry(*path))?);
        }
        let envelope =
            Self { signed_by: signature.to_owned(), signature: bytes, certificates: found };
        Ok(Some((envelope, copy_out(file, listed, limits, package, scratch)?)))
    }
}

fn copy_out(
    file: &File,
    listed: &Listed,
    limits: &Limits,
    package: &str,
    scratch: &Path,
) -> Result<File, Problem> {
    let size = listed.listing.get(package).map_or(0, |member| member.entry.size);
    if size > limits.archive_bytes {
        let what = format!("{size} bytes, and an archive may have {}", limits.archive_bytes);
        return Err(Problem::new(Code::Size, what).entry(package));
    }
    let unwritten = |error: std::io::Error| {
        let what = format!("there is no room to take it out of its outer archive ({error})");
        Problem::new(Code::NoSpace, what).entry(package)
    };
    let mut inner = tempfile::tempfile_in(scratch).map_err(unwritten)?;
    let then = |path: &str, _: &Entry, data: &mut dyn Read| {
        if path != package {
            return Ok(());
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = data.read(&mut buffer).map_err(|error| {
                crate::decode::problem_of(error, listed.packing, true).entry(path)
            })?;
            if read == 0 {
                return Ok(());
            }
            inner.write_all(&buffer[..read]).map_err(unwritten)?;
        }
    };
    let mut again = Again { listing: &listed.listing, root: "", at: 0, then };
    walk(file, listed.packing, limits, &mut again)?;
    Ok(inner)
}
