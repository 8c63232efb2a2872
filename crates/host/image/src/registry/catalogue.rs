//! What a registry has: tags of a repository, repositories of the registry, of a project where it is Harbor.

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Client, Endpoint, Error, Request};

/// Most names that are read of a list.
const NAMES: usize = 2000;
/// Names asked for at a time.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct Tags {
    /// `null` for a repository whose last tag was taken away.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct HarborRepository {
    name: String,
}

impl Client {
    /// All tags of a repository.
    pub(crate) async fn tags(
        &self,
        endpoints: &[Endpoint],
        repository: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, Error> {
        let page = |last: Option<String>| async move {
            let request = Request {
                repository,
                path: with_last("tags/list", last.as_deref()),
                what: format!("the tags of `{repository}`"),
            };
            let (bytes, _) = self.document(endpoints, &request, None, cancel).await?;
            let found: Tags = parse(&endpoints[0], &request.what, &bytes)?;
            Ok(found.tags.unwrap_or_default())
        };
        pages(page).await
    }

    /// Repositories of which the names begin with `project/`, as Harbor tells them, else as the protocol does.
    pub(crate) async fn repositories(
        &self,
        endpoint: &Endpoint,
        project: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, Error> {
        match self.harbor(endpoint, project, cancel).await {
            Ok(found) => return Ok(found),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // Every other registry has something else there, or nothing.
            Err(error) => {
                tracing::debug!(%error, "not Harbor, or none that tells its projects");
            }
        }
        let page = |last: Option<String>| async move {
            // No repository: the registry itself is asked, and logged in to for its catalogue.
            let request = Request {
                repository: "",
                path: with_last("_catalog", last.as_deref()),
                what: "its repositories".to_owned(),
            };
            let url = format!("{}{}", endpoint.base, request.path);
            let bytes = self.small(endpoint, &request, &url, cancel).await?;
            let found: Repositories = parse(endpoint, &request.what, &bytes)?;
            Ok(found.repositories.unwrap_or_default())
        };
        let prefix = format!("{project}/");
        let mut found = pages(page).await?;
        found.retain(|name| name.starts_with(&prefix));
        Ok(found)
    }

    async fn harbor(
        &self,
        endpoint: &Endpoint,
        project: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, Error> {
        let host = endpoint.base.split("/v2/").next().unwrap_or_default();
        let mut all = Vec::new();
        for page in 1..=NAMES / PAGE {
            let request = Request {
                repository: "",
                path: String::new(),
                what: format!("the repositories of `{project}`"),
            };
            let url = format!(
                "{host}/api/v2.0/projects/{project}/repositories?page={page}&page_size={PAGE}"
            );
            let bytes = self.small(endpoint, &request, &url, cancel).await?;
            let found: Vec<HarborRepository> = parse(endpoint, &request.what, &bytes)?;
            let last = found.len() < PAGE;
            all.extend(found.into_iter().map(|repository| repository.name));
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// A small answer from an address of the registry.
    async fn small(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        url: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, Error> {
        let limit = self.0.options.limits.manifest_bytes;
        let (registry, what) = (endpoint.name.clone(), request.what.clone());
        let ask = async {
            let response = self.get_url(endpoint, request, url, 0).await?;
            self.body(endpoint, &request.what, response, limit).await?.ok_or(Error::TooLarge {
                registry,
                what,
                limit,
            })
        };
        tokio::select! {
            answer = ask => answer,
            () = cancel.cancelled() => Err(Error::Cancelled),
        }
    }
}

fn with_last(path: &str, last: Option<&str>) -> String {
    match last {
        Some(last) => format!("{path}?n={PAGE}&last={last}"),
        None => format!("{path}?n={PAGE}"),
    }
}

/// Asks for page after page until one has nothing new: how long a page is, every registry decides for itself.
async fn pages<F>(page: impl Fn(Option<String>) -> F) -> Result<Vec<String>, Error>
where
    F: Future<Output = Result<Vec<String>, Error>>,
{
    let mut all: Vec<String> = Vec::new();
    loop {
        let mut found = page(all.last().cloned()).await?;
        // Names go into paths.
        found.retain(|name| is_plain(name) && !all.contains(name));
        if found.is_empty() {
            return Ok(all);
        }
        found.sort();
        all.extend(found);
        if all.len() >= NAMES {
            tracing::warn!(
                "a registry lists more than {NAMES} names; the others are not looked at"
            );
            all.truncate(NAMES);
            return Ok(all);
        }
    }
}

/// Whether a name may stand in an address as it is.
fn is_plain(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'))
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

fn parse<T: serde::de::DeserializeOwned>(
    endpoint: &Endpoint,
    what: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Error::Answer {
        registry: endpoint.name.clone(),
        what: what.to_owned(),
        why: error.to_string(),
    })
}
