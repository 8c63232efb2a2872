//! `/vnf_packages` (`vnf.md` 6.4).

use std::io::{Seek, SeekFrom};

use axum::Json;
use axum::extract::{Extension, OriginalUri, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::body::Body;
use super::list;
use super::version::Version;
use crate::packages::{Content, DESCRIPTORS, MANIFEST_END};
use crate::problem::Problem;
use crate::range::{self, Wanted};
use crate::service::Nfv;
use crate::view;

/// Members that no selector takes away.
const ALWAYS: &[&str] = &[
    "id",
    "vnfdId",
    "vnfProvider",
    "vnfProductName",
    "vnfSoftwareVersion",
    "vnfdVersion",
    "onboardingState",
    "operationalState",
    "usageState",
    "_links",
];

/// An identifier in a path; one of another form names nothing.
pub(super) fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found(format!("there is no `{text}`")))
}

pub(super) async fn list(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let all = nfv.packages().await;
    let views = all.iter().map(|(p, in_use)| view::package(p, *in_use, version.word()));
    list::page(uri.path(), &query, views, nfv.inner.options.page, ALWAYS)
}

pub(super) async fn create(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    body: Body,
) -> Result<Response, Problem> {
    let package = nfv.create_package(body.map("userDefinedData")?).await?;
    let view = view::package(&package, false, version.word());
    let location = format!("/vnfpkgm/{}/vnf_packages/{}", version.word(), package.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

pub(super) async fn show(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(package): Path<String>,
) -> Result<Response, Problem> {
    let (package, in_use) = nfv.package(id(&package)?).await?;
    Ok(Json(view::package(&package, in_use, version.word())).into_response())
}

pub(super) async fn change(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let enable = match body.get("operationalState") {
        Some(_) => Some(body.word("operationalState", &["ENABLED", "DISABLED"])? == "ENABLED"),
        None => None,
    };
    let data = body.map("userDefinedData")?;
    if enable.is_none() && data.is_empty() {
        return Err(Problem::bad("`operationalState` or `userDefinedData` is needed"));
    }
    nfv.change_package(id(&package)?, enable, data).await?;
    // The changed part, which is the request's.
    Ok(Json(body.into_value()).into_response())
}

pub(super) async fn delete(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
) -> Result<StatusCode, Problem> {
    nfv.delete_package(id(&package)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The content is recognised by itself: clients say application/zip whatever they send.
pub(super) async fn upload(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let package = id(&package)?;
    let body = request.into_body().into_data_stream();
    tokio::spawn(nfv.upload(package, body))
        .await
        .map_err(|e| Problem::internal("the upload ended", &e))??;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn upload_from_uri(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
) -> Result<StatusCode, Problem> {
    nfv.package(id(&package)?).await?;
    let why = "packages are not fetched by this server; upload the content itself";
    Err(Problem::new(StatusCode::FORBIDDEN, why).coded("fetching-is-off"))
}

pub(super) async fn content(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sent(&nfv, id(&package)?, Content::Archive, "application/zip", &headers).await
}

pub(super) async fn artifact(
    State(nfv): State<Nfv>,
    Path((package, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sent(&nfv, id(&package)?, Content::Artifact(path), "application/octet-stream", &headers).await
}

pub(super) async fn manifest(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let package = id(&package)?;
    let path = named(&nfv, package, |path| path.ends_with(MANIFEST_END)).await?;
    sent(&nfv, package, Content::Artifact(path), "text/plain", &headers).await
}

/// The descriptor as it is in the package, or in a zip when that is asked for.
pub(super) async fn descriptor(
    State(nfv): State<Nfv>,
    Path(package): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepted = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let takes = |kind: &str| accepted.split(',').any(|a| a.split(';').next() == Some(kind));
    let package = id(&package)?;
    let path = named(&nfv, package, |path| DESCRIPTORS.contains(&path)).await?;
    if takes("text/plain") || takes("*/*") || takes("text/*") {
        return sent(&nfv, package, Content::Artifact(path), "text/plain", &headers).await;
    }
    if !takes("application/zip") && !takes("application/*") {
        let why = format!("a descriptor is text/plain or application/zip, not `{accepted}`");
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, why));
    }
    let (mut file, _) = nfv.open_file(package, Content::Artifact(path.clone())).await?;
    let zipped = tokio::task::spawn_blocking(move || {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file(path, options)?;
        std::io::copy(&mut file, &mut zip)?;
        Ok::<_, zip::result::ZipError>(zip.finish()?.into_inner())
    });
    let zipped = zipped
        .await
        .map_err(|e| Problem::internal("reading the package ended", &e))?
        .map_err(|e| Problem::internal("cannot read the package", &e))?;
    Ok(([(header::CONTENT_TYPE, "application/zip")], zipped).into_response())
}

async fn named(nfv: &Nfv, package: Uuid, wanted: impl Fn(&str) -> bool) -> Result<String, Problem> {
    let (found, _) = nfv.package(package).await?;
    let Some(product) = found.product else {
        return Err(Problem::conflict(format!("package `{package}` is not onboarded")));
    };
    let mut paths = product.artifacts.into_iter().map(|artifact| artifact.path);
    paths
        .find(|path| wanted(path))
        .ok_or_else(|| Problem::not_found(format!("package `{package}` has no such file")))
}

async fn sent(
    nfv: &Nfv,
    package: Uuid,
    what: Content,
    kind: &'static str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (mut file, length) = nfv.open_file(package, what).await?;
    let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let (status, range) = match range::wanted(asked, length) {
        Wanted::Whole => (StatusCode::OK, 0..length),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Outside => {
            let problem = Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!("the content has {length} bytes"),
            );
            let all = format!("bytes */{length}");
            return Ok(([(header::CONTENT_RANGE, all)], problem).into_response());
        }
    };
    file.seek(SeekFrom::Start(range.start))
        .map_err(|e| Problem::internal("cannot read the package", &e))?;
    let size = range.end - range.start;
    let part = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), size);
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, kind.to_owned()),
            (header::CONTENT_LENGTH, size.to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
        ],
        axum::body::Body::from_stream(ReaderStream::new(part)),
    )
        .into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let value = text.parse().map_err(|e| Problem::internal("cannot name the range", &e))?;
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}
