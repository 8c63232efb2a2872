//! Reading a trust folder, and seeing that it changed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use openssl::{
    ssl::SslFiletype,
    x509::{X509, X509Crl},
};

use super::{Anchors, CrlFile, Problem, TrustError, policy};
use crate::{
    cms::first,
    name::{canonical, one_line},
};

/// Most files of a folder that are looked at: IGTF's has about a thousand.
const MAX_FILES: usize = 20_000;
const MAX_CA_BYTES: u64 = 1 << 20;
const MAX_CRL_BYTES: u64 = 64 << 20;
const MAX_POLICY_BYTES: u64 = 1 << 20;

/// A trust folder, and what was read of it last.
#[derive(Debug)]
pub struct TrustFolder {
    path: PathBuf,
    read: Mutex<Option<(Stamp, Arc<Anchors>)>>,
}

/// Name, inode, size and change time of each file.
type Stamp = BTreeSet<(PathBuf, u64, u64, i64, i64)>;

impl TrustFolder {
    /// Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::new(None) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the folder holds now; read again only when a file was changed, added or removed. Blocks on the disk.
    ///
    /// # Errors
    /// When the folder cannot be read. A single file that cannot is one of [`Anchors::problems`].
    pub fn anchors(&self) -> Result<Arc<Anchors>, TrustError> {
        let stamp = self.stamp()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, anchors)) = &*read
            && *seen == stamp
        {
            return Ok(Arc::clone(anchors));
        }
        let anchors = Arc::new(read_all(stamp.iter().map(|file| file.0.as_path())));
        for problem in &anchors.problems {
            tracing::warn!(file = %problem.file.display(), reason = problem.reason, "passed over in the trust folder");
        }
        *read = Some((stamp, Arc::clone(&anchors)));
        Ok(anchors)
    }

    fn stamp(&self) -> Result<Stamp, TrustError> {
        let cannot = |source| TrustError::Folder { path: self.path.clone(), source };
        let mut stamp = Stamp::new();
        for entry in fs::read_dir(&self.path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            // Links are followed: IGTF's hashed names are links.
            match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => {
                    stamp.insert((path, meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
                }
                Ok(_) => {}
                // Removed since, or a link to nothing: not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot(error)),
            }
            if stamp.len() > MAX_FILES {
                return Err(TrustError::TooMany { path: self.path.clone(), limit: MAX_FILES });
            }
        }
        Ok(stamp)
    }
}

fn read_all<'a>(files: impl Iterator<Item = &'a Path> + Clone) -> Anchors {
    let mut anchors = Anchors {
        cas: HashMap::new(),
        crls: HashMap::new(),
        policies: policy::Policies::default(),
        problems: Vec::new(),
    };
    // Stem of a CA's file, for `TO Issuer SELF`.
    let mut stems: HashMap<String, String> = HashMap::new();
    let mut seen = HashSet::new();
    for file in files.clone().filter(|f| is_ca(f)) {
        match read_cas(file) {
            Ok(cas) => {
                for ca in cas {
                    let subject = canonical(&one_line(ca.subject_name()));
                    stems.entry(stem(file)).or_insert_with(|| subject.clone());
                    if ca.to_der().is_ok_and(|der| seen.insert(der)) {
                        anchors.cas.entry(subject).or_default().push(ca);
                    }
                }
            }
            Err(reason) => anchors.problems.push(Problem { file: file.to_owned(), reason }),
        }
    }
    for file in files.clone().filter(|f| is_crl(f)) {
        match read_crl(file) {
            Ok((issuer, crl)) => anchors.crls.entry(issuer).or_default().push(crl),
            Err(reason) => anchors.problems.push(Problem { file: file.to_owned(), reason }),
        }
    }
    for file in files {
        let stem = stem(file);
        let own = stems.get(&stem).map(String::as_str);
        let read = match extension(file) {
            "namespaces" => text(file).map(|text| policy::namespaces(&text, own)),
            "signing_policy" => text(file).map(|text| policy::signing_policy(&text)),
            _ => continue,
        };
        let problem = match read {
            Ok(parsed) => anchors.policies.add(parsed, own),
            Err(reason) => {
                anchors.policies.close(extension(file), own);
                Some(reason)
            }
        };
        if let Some(reason) = problem {
            anchors.problems.push(Problem { file: file.to_owned(), reason });
        }
    }
    anchors
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|e| e.to_str()).unwrap_or_default()
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_ca(file: &Path) -> bool {
    let extension = extension(file);
    extension == "pem" || matches!(extension.as_bytes(), [b'0'..=b'9'])
}

fn is_crl(file: &Path) -> bool {
    matches!(extension(file).as_bytes(), [b'r', b'0'..=b'9'])
}

fn bytes(file: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(|e| format!("it cannot be opened: {e}"))?;
    opened
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("it cannot be read: {e}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is longer than {limit} bytes"));
    }
    Ok(bytes)
}

fn text(file: &Path) -> Result<String, String> {
    let bytes = bytes(file, MAX_POLICY_BYTES)?;
    // Old policies are Latin-1: a byte that is no UTF-8 stands for itself.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}

fn read_cas(file: &Path) -> Result<Vec<X509>, String> {
    let cas = X509::stack_from_pem(&bytes(file, MAX_CA_BYTES)?)
        .map_err(|e| format!("it is no PEM certificate: {}", first(&e)))?;
    if cas.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(cas) }
}

/// The issuer in canonical form, and the file for OpenSSL to load.
fn read_crl(file: &Path) -> Result<(String, CrlFile), String> {
    let path = file
        .to_str()
        .filter(|path| !path.contains('\0'))
        .ok_or("the path of the CRL is no UTF-8")?
        .to_owned();
    let bytes = bytes(file, MAX_CRL_BYTES)?;
    let (issuer, kind) = parse_crl(&bytes)?;
    Ok((issuer, CrlFile { path, kind }))
}

fn parse_crl(bytes: &[u8]) -> Result<(String, SslFiletype), String> {
    let (crl, kind) = match X509Crl::from_pem(bytes) {
        Ok(crl) => (crl, SslFiletype::PEM),
        Err(_) => match X509Crl::from_der(bytes) {
            Ok(crl) => (crl, SslFiletype::ASN1),
            Err(e) => return Err(format!("it is no CRL: {}", first(&e))),
        },
    };
    Ok((canonical(&one_line(crl.issuer_name())), kind))
}

/// The issuer of a CRL, PEM or DER, in the one form in which names are compared.
///
/// # Errors
/// Why it is no CRL.
pub fn crl_issuer(bytes: &[u8]) -> Result<String, String> {
    parse_crl(bytes).map(|(issuer, _)| issuer)
}
