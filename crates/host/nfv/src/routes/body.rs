//! Bodies of requests: JSON objects, each member checked where it stands.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// A request's body as an object; a handler takes it as an argument. Nothing, where a body may be left out, is an empty one.
#[derive(Debug)]
pub(super) struct Body(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let headers = request.headers().clone();
        let bytes =
            Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        Self::read(&headers, &bytes).map_err(IntoResponse::into_response)
    }
}

impl Body {
    fn read(headers: &HeaderMap, bytes: &Bytes) -> Result<Self, Problem> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Map::new()));
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !matches!(kind.as_str(), "" | "application/json" | "application/merge-patch+json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("a body of the type `{kind}` is not taken; send application/json"),
            ));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(Problem::at("", "the body is no JSON object")),
            Err(error) => Err(Problem::at("", format!("the body is no JSON: {error}"))),
        }
    }

    /// A text; absent and null are the same.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.text(name)?
            .ok_or_else(|| Problem::at(&format!("/{name}"), format!("`{name}` is missing")))
    }

    /// One of these words.
    pub(super) fn word(&self, name: &str, words: &[&str]) -> Result<String, Problem> {
        let text = self.needed(name)?;
        if words.contains(&text) {
            return Ok(text.to_owned());
        }
        let what = format!("`{name}` is {}, not `{text}`", words.join(" or "));
        Err(Problem::at(&format!("/{name}"), what))
    }

    pub(super) fn map(&self, name: &str) -> Result<Map<String, Value>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(wrong(name, "an object")),
        }
    }

    /// A number from 0, or from 1 where `least` says so.
    pub(super) fn number(&self, name: &str, least: u64) -> Result<Option<u64>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number >= least => Ok(Some(number)),
                _ => Err(wrong(name, &format!("a whole number from {least}"))),
            },
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn wrong(name: &str, what: &str) -> Problem {
    Problem::at(&format!("/{name}"), format!("`{name}` is not {what}"))
}
