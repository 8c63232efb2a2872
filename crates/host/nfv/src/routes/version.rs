//! Versions of the interfaces: in the path, and in the header `Version` (SOL013, 9).

use axum::Json;
use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::problem::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(super) const ALL: [Version; 2] = [Version::V1, Version::V2];

    /// As it stands in paths.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    fn number_of_packages(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2 => "2.0.0",
        }
    }

    fn number_of_lifecycle(self) -> &'static str {
        match self {
            Self::V1 => "1.3.0",
            Self::V2 => "2.0.0",
        }
    }

    pub(super) async fn of_packages(self, request: Request, next: Next) -> Response {
        checked(self.number_of_packages(), false, request, next).await
    }

    /// Only version 2 of the lifecycle insists on the header: version 1's clients leave it out here and there.
    pub(super) async fn of_lifecycle(self, request: Request, next: Next) -> Response {
        let needed = self == Self::V2 && !request.uri().path().ends_with("/api_versions");
        checked(self.number_of_lifecycle(), needed, request, next).await
    }
}

async fn checked(number: &'static str, needed: bool, request: Request, next: Next) -> Response {
    let asked = request.headers().get("version").map(|v| v.to_str().unwrap_or_default().trim());
    let refused = match asked {
        None if needed => Some(Problem::bad(format!(
            "a request to this interface carries the header `Version: {number}`"
        ))),
        None => None,
        // `2.0.0-impl:acme.com:myProduct:4` is version 2.0.0 in somebody's dress.
        Some(asked) if asked.split("-impl:").next() == Some(number) => None,
        Some(asked) => Some(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("version `{asked}` is not served here, only {number}"),
        )),
    };
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().insert("version", HeaderValue::from_static(number));
    response
}

fn versions(prefix: &str, numbers: &[&str]) -> Json<Value> {
    let all = numbers.iter().map(|n| json!({"version": n, "isDeprecated": false}));
    Json(json!({"uriPrefix": prefix, "apiVersions": all.collect::<Vec<_>>()}))
}

pub(super) async fn packages() -> Json<Value> {
    versions("/vnfpkgm", &Version::ALL.map(Version::number_of_packages))
}

pub(super) async fn lifecycle() -> Json<Value> {
    versions("/vnflcm", &Version::ALL.map(Version::number_of_lifecycle))
}

pub(super) async fn packages_of(Extension(version): Extension<Version>) -> Json<Value> {
    versions(&format!("/vnfpkgm/{}", version.word()), &[version.number_of_packages()])
}

pub(super) async fn lifecycle_of(Extension(version): Extension<Version>) -> Json<Value> {
    versions(&format!("/vnflcm/{}", version.word()), &[version.number_of_lifecycle()])
}
