//! Logging in: Basic, or a token from the service that the registry names.
//!
//! Distribution specification, "Token authentication"; docker's `config.json` for credentials.

use std::collections::HashMap;

use base64::Engine;
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;

use super::{Client, Endpoint, Error, Request};
use crate::Credential;
use crate::reference::DOCKER;

/// Largest auth file, and largest answer of a token service, bytes.
const SMALL: u64 = 1 << 20;

/// What is shown to a registry.
#[derive(Clone)]
pub(super) enum Authorisation {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Authorisation {
    pub(super) fn apply(&self, builder: RequestBuilder) -> RequestBuilder {
        match self {
            Authorisation::Basic { user, password } => builder.basic_auth(user, Some(password)),
            Authorisation::Bearer(token) => builder.bearer_auth(token),
        }
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: HashMap<String, AuthEntry>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    registrytoken: Option<String>,
}

impl Client {
    /// Answers a 401.
    pub(super) async fn log_in(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        challenges: &[String],
    ) -> Result<Authorisation, Error> {
        let credential = self.credential(&endpoint.name)?;
        if let Some(Credential::Bearer(token)) = credential {
            return Ok(Authorisation::Bearer(token));
        }
        let basic = match credential {
            Some(Credential::Basic { user, password }) => {
                Some(Authorisation::Basic { user, password })
            }
            _ => None,
        };
        let wanted =
            || Error::LoginWanted { registry: endpoint.name.clone(), what: request.what.clone() };
        match challenges.iter().find_map(|c| Challenge::bearer(c)) {
            Some(challenge) => self.token(endpoint, request, &challenge, basic).await,
            None => basic.ok_or_else(wanted),
        }
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        challenge: &Challenge,
        basic: Option<Authorisation>,
    ) -> Result<Authorisation, Error> {
        let address = |why: String| Error::Address { registry: challenge.realm.clone(), why };
        let mut url = Url::parse(&challenge.realm).map_err(|e| address(e.to_string()))?;
        if url.scheme() != "https" && endpoint.base.starts_with("https") {
            return Err(address(
                "a token service without https, named by a registry with it".into(),
            ));
        }
        let scope = match request.repository {
            "" => "registry:catalog:*".to_owned(),
            // A mirror's repositories have its prefix before their names.
            repository => format!("repository:{}{repository}:pull", endpoint.prefix()),
        };
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = &challenge.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let what = format!("a token for {}", request.what);
        let mut builder = self.0.http.get(url);
        if let Some(basic) = &basic {
            builder = basic.apply(builder);
        }
        let response = self
            .unless_stalled(endpoint, &what, builder.send())
            .await?
            .map_err(|e| self.unreachable(endpoint, e))?;
        let status = response.status();
        let registry = endpoint.name.clone();
        if matches!(status.as_u16(), 400 | 401 | 403) {
            return Err(match basic {
                Some(_) => Error::LoginRefused {
                    registry,
                    what: request.what.clone(),
                    status: status.as_u16(),
                },
                None => Error::LoginWanted { registry, what: request.what.clone() },
            });
        }
        if !status.is_success() {
            return Err(Error::Status {
                registry,
                what,
                status: status.as_u16(),
                detail: "from its token service".into(),
            });
        }
        let too_large = Error::TooLarge { registry, what: what.clone(), limit: SMALL };
        let body = self.body(endpoint, &what, response, SMALL).await?.ok_or(too_large)?;
        serde_json::from_slice::<Token>(&body)
            .ok()
            .and_then(|t| t.token.or(t.access_token))
            .map(Authorisation::Bearer)
            .ok_or_else(|| Error::Status {
                registry: endpoint.name.clone(),
                what,
                status: status.as_u16(),
                detail: "without a token in it".into(),
            })
    }

    /// The credential for a registry or mirror: from the settings, else from the auth file.
    pub(super) fn credential(&self, registry: &str) -> Result<Option<Credential>, Error> {
        let host = registry.split('/').next().unwrap_or(registry);
        let options = &self.0.options;
        if let Some(credential) =
            options.credentials.get(registry).or_else(|| options.credentials.get(host))
        {
            return Ok(Some(credential.clone()));
        }
        let Some(path) = &options.auth_file else { return Ok(None) };
        let failed = |why: String| Error::AuthFile { path: path.clone(), why };
        // Read anew each time: a login made meanwhile counts. It is asked for at a 401 only.
        let content = read_small(path).map_err(|e| failed(e.to_string()))?;
        let file: AuthFile = serde_json::from_slice(&content).map_err(|e| failed(e.to_string()))?;
        let keys = [
            registry.to_owned(),
            host.to_owned(),
            format!("https://{host}"),
            format!("https://{host}/v1/"),
            format!("https://{host}/v2/"),
        ];
        let docker = (host == DOCKER).then(|| "https://index.docker.io/v1/".to_owned());
        let entry = keys.iter().chain(&docker).find_map(|key| file.auths.get(key));
        entry.map_or(Ok(None), |entry| entry.credential().map_err(failed))
    }
}

/// A file of settings, at most 1 MiB.
pub(super) fn read_small(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(SMALL + 1).read_to_end(&mut content)?;
    match content.len() as u64 > SMALL {
        true => Err(std::io::Error::other("it is larger than 1 MiB")),
        false => Ok(content),
    }
}

impl AuthEntry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        if let Some(token) = self.registrytoken.as_ref().filter(|t| !t.is_empty()) {
            return Ok(Some(Credential::Bearer(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credential::Basic { user: user.clone(), password: password.clone() }));
        }
        let Some(auth) = self.auth.as_ref().filter(|a| !a.is_empty()) else { return Ok(None) };
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("an `auth` in it is not base64 of text")?;
        let (user, password) =
            decoded.split_once(':').ok_or("an `auth` in it is not of the form user:password")?;
        Ok(Some(Credential::Basic {
            user: user.into(),
            password: password.trim_end_matches('\0').into(),
        }))
    }
}

/// `Bearer realm="...",service="..."`.
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    fn bearer(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        while let Some((key, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = next;
        }
        Some(Self { realm: realm?, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_apart() {
        let c = Challenge::bearer(
            r#"Bearer realm="https://auth.example/token?x=1,2",service="registry.example",scope="repository:a:pull""#,
        )
        .unwrap();
        assert_eq!(c.realm, "https://auth.example/token?x=1,2");
        assert_eq!(c.service.as_deref(), Some("registry.example"));
        let c = Challenge::bearer("bearer service=s,realm=https://x").unwrap();
        assert_eq!((c.realm.as_str(), c.service.as_deref()), ("https://x", Some("s")));
        assert!(Challenge::bearer("Basic realm=\"x\"").is_none());
        assert!(Challenge::bearer("Bearer realm=\"unclosed").is_none());
    }

    #[test]
    fn credentials_of_docker_are_read() {
        let entry = |json: &str| serde_json::from_str::<AuthEntry>(json).unwrap().credential();
        let basic = Credential::Basic { user: "u".into(), password: "p:w".into() };
        assert_eq!(entry(r#"{"auth":"dTpwOnc="}"#).unwrap(), Some(basic.clone()));
        assert_eq!(entry(r#"{"username":"u","password":"p:w"}"#).unwrap(), Some(basic));
        assert_eq!(entry("{}").unwrap(), None);
        assert!(entry(r#"{"auth":"***"}"#).is_err());
    }
}
