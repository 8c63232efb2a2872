//! The certificate of the TCP listener: the operator's, or one made and kept at the first start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("cannot read certificate `{path}`")]
    Certificate { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("cannot read private key `{path}`")]
    Key { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("certificate file `{0}` holds no certificate")]
    Empty(PathBuf),
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("certificate and key do not go together")]
    Pair(#[source] rustls::Error),
}

/// Where the certificate chain and its key lie, both PEM.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The pair kept in a folder, made there (self-signed) when there is none yet.
    pub fn ensure_in(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let files =
            Self { certificate: folder.join("api-cert.pem"), key: folder.join("api-key.pem") };
        if !files.certificate.exists() || !files.key.exists() {
            let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Make)?;
            // The certificate comes last: where it is, its key is complete.
            write(&files.key, made.signing_key.serialize_pem().as_bytes(), 0o600)?;
            write(&files.certificate, made.cert.pem().as_bytes(), 0o644)?;
        }
        Ok(files)
    }

    /// A server configuration for TLS 1.2 and 1.3 and HTTP/1.1.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let unreadable = |source| TlsError::Certificate { path: self.certificate.clone(), source };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .map_err(unreadable)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        if chain.is_empty() {
            return Err(TlsError::Empty(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Key { path: self.key.clone(), source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let fail = |source| TlsError::Write { path: path.into(), source };
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&aside)
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    fs::rename(&aside, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_certificate_is_kept_and_the_key_is_for_root_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles::ensure_in(dir.path(), &["localhost".into()]).unwrap();
        files.server_config().unwrap();
        let first = fs::read(&files.certificate).unwrap();
        CertificateFiles::ensure_in(dir.path(), &["localhost".into()]).unwrap();
        assert_eq!(fs::read(&files.certificate).unwrap(), first);
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = CertificateFiles::ensure_in(a.path(), &["a".into()]).unwrap();
        let kept = b.path().join("k");
        let b = CertificateFiles::ensure_in(b.path(), &["b".into()]).unwrap();
        fs::copy(&b.key, &kept).unwrap();
        let mixed = CertificateFiles { certificate: a.certificate, key: kept };
        let result = mixed.server_config();
        assert!(result.is_err());
    }
}
