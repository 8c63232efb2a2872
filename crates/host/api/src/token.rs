//! Bearer tokens for the TCP listener. Only hashes are kept; a token is shown once, when it is made.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// Most tokens kept; a guard against a script that makes one a call.
const MAX_TOKENS: usize = 1000;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Name given when it was made.
    pub name: String,
    /// SHA-256 of the secret, hexadecimal. The secret has 256 random bits, so a plain hash is enough.
    pub sha256: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// A token just made; the only time its secret is seen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// Name given.
    pub name: String,
    /// The secret, to be sent as `Authorization: Bearer`.
    pub token: String,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("cannot read tokens `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot read tokens `{path}`: it is damaged; remove it and make the tokens again")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("cannot write tokens `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("token `{0}` exists; remove it first or take another name")]
    Exists(String),
    #[error("no token `{0}`; `vnode token ls` shows those that are")]
    Unknown(String),
    #[error(
        "token name `{0}` is empty, longer than 64 characters, or has other than letters, digits, `-`, `_`, `.`"
    )]
    Name(String),
    #[error("there are {MAX_TOKENS} tokens already; remove some with `vnode token rm`")]
    Full,
    #[error("cannot get random bytes")]
    Random(#[source] rustix::io::Errno),
}

/// The tokens of one daemon: a file of hashes, mode 0600.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    list: Mutex<Vec<Token>>,
}

impl Tokens {
    /// Reads the file; a missing one holds no tokens.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let list = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| TokenError::Damaged { path: path.into(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(source) => return Err(TokenError::Read { path: path.into(), source }),
        };
        Ok(Self { path: path.into(), list: Mutex::new(list) })
    }

    /// Makes a token; `now` is seconds since 1970.
    pub fn create(&self, name: &str, now: u64) -> Result<NewToken, TokenError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            return Err(TokenError::Name(name.chars().take(64).collect()));
        }
        let mut list = self.lock();
        if list.iter().any(|token| token.name == name) {
            return Err(TokenError::Exists(name.into()));
        }
        if list.len() >= MAX_TOKENS {
            return Err(TokenError::Full);
        }
        let mut secret = [0_u8; 32];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .map_err(TokenError::Random)?;
        let token = format!("vnode_{}", hex(&secret));
        let mut next = list.clone();
        next.push(Token { name: name.into(), sha256: hash(&token), created: now });
        self.write(&next)?;
        *list = next;
        Ok(NewToken { name: name.into(), token })
    }

    /// Forgets a token; requests with it fail from now on.
    pub fn remove(&self, name: &str) -> Result<(), TokenError> {
        let mut list = self.lock();
        let next: Vec<_> = list.iter().filter(|token| token.name != name).cloned().collect();
        if next.len() == list.len() {
            return Err(TokenError::Unknown(name.into()));
        }
        self.write(&next)?;
        *list = next;
        Ok(())
    }

    /// All tokens, in the order they were made.
    pub fn list(&self) -> Vec<Token> {
        self.lock().clone()
    }

    /// Whether a secret is one of ours. Hashes are compared, so timing tells nothing of the secret.
    pub fn allows(&self, secret: &str) -> bool {
        let hash = hash(secret);
        self.lock().iter().any(|token| token.sha256 == hash)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Token>> {
        self.list.lock().expect("no code that holds the lock can panic")
    }

    /// Written aside and renamed, so that a crash leaves the old list or the new one.
    fn write(&self, list: &[Token]) -> Result<(), TokenError> {
        let fail = |source| TokenError::Write { path: self.path.clone(), source };
        let aside = self.path.with_extension("new");
        let bytes = serde_json::to_vec_pretty(list).expect("plain data has a JSON form");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(fail)?;
        file.write_all(&bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        fs::rename(&aside, &self.path).map_err(fail)
    }
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_until_removed_and_survives_a_restart_as_a_hash_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let tokens = Tokens::open(&path).unwrap();
        let made = tokens.create("ci", 7).unwrap();
        assert!(tokens.allows(&made.token));
        assert!(!tokens.allows("vnode_00"));
        assert!(!fs::read_to_string(&path).unwrap().contains(&made.token));

        let again = Tokens::open(&path).unwrap();
        assert!(again.allows(&made.token));
        assert!(matches!(again.create("ci", 8), Err(TokenError::Exists(_))));
        again.remove("ci").unwrap();
        assert!(!again.allows(&made.token));
        assert!(matches!(again.remove("ci"), Err(TokenError::Unknown(_))));
        assert!(Tokens::open(&path).unwrap().list().is_empty());
    }

    #[test]
    fn the_file_is_for_root_only_and_damage_is_said() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        Tokens::open(&path).unwrap().create("a", 0).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "[{").unwrap();
        assert!(matches!(Tokens::open(&path), Err(TokenError::Damaged { .. })));
    }

    #[test]
    fn odd_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(&dir.path().join("t")).unwrap();
        for name in ["", "a b", "../x", &"x".repeat(65)] {
            assert!(matches!(tokens.create(name, 0), Err(TokenError::Name(_))), "{name}");
        }
    }
}
