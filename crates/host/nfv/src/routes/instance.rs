//! `/vnf_instances` (`vnf.md` 6.5).

use axum::Json;
use axum::extract::{Extension, OriginalUri, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::Body;
use super::list;
use super::package::id;
use super::version::Version;
use crate::lifecycle::kept;
use crate::problem::Problem;
use crate::records::Operation;
use crate::service::Nfv;
use crate::view;

/// Members that no selector takes away.
const ALWAYS: &[&str] = &[
    "id",
    "vnfInstanceName",
    "vnfdId",
    "vnfProvider",
    "vnfProductName",
    "vnfSoftwareVersion",
    "vnfdVersion",
    "instantiationState",
    "_links",
];
/// Of `instantiate`'s body: what is a virtualised infrastructure's, and what may hold its passwords.
const OF_THE_VIM: &[&str] =
    &["vimConnectionInfo", "extVirtualLinks", "extManagedVirtualLinks", "localizationLanguage"];

pub(super) async fn list(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let all = nfv.instances().await;
    let views = all.iter().map(|instance| view::instance(instance, None, version.word()));
    list::page(uri.path(), &query, views, nfv.inner.options.page, ALWAYS)
}

pub(super) async fn create(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    body: Body,
) -> Result<Response, Problem> {
    let vnfd = body.needed("vnfdId")?;
    let name = body.text("vnfInstanceName")?.unwrap_or_default().to_owned();
    let description = body.text("vnfInstanceDescription")?.unwrap_or_default().to_owned();
    let instance = nfv.create_instance(vnfd, name, description, body.map("metadata")?).await?;
    let location = format!("/vnflcm/{}/vnf_instances/{}", version.word(), instance.id);
    let view = view::instance(&instance, None, version.word());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

pub(super) async fn show(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
) -> Result<Response, Problem> {
    let (instance, look) = nfv.instance(id(&instance)?).await?;
    Ok(Json(view::instance(&instance, look.as_ref(), version.word())).into_response())
}

pub(super) async fn delete(
    State(nfv): State<Nfv>,
    Path(instance): Path<String>,
) -> Result<StatusCode, Problem> {
    nfv.delete_instance(id(&instance)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn begin(
    nfv: &Nfv,
    version: Version,
    instance: &str,
    operation: Operation,
    body: Body,
    ignored: &[&str],
) -> Result<Response, Problem> {
    let params = kept(body.into_value(), ignored);
    let occurrence = nfv.begin(id(instance)?, operation, params).await?;
    let location = format!("/vnflcm/{}/vnf_lcm_op_occs/{}", version.word(), occurrence.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response())
}

pub(super) async fn modify(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.text("vnfInstanceName")?;
    body.text("vnfInstanceDescription")?;
    body.map("metadata")?;
    body.map("vnfConfigurableProperties")?;
    if body.get("vnfdId").is_some() {
        return Err(Problem::unprocessable(
            "the package of an instance is changed by `change_vnfpkg`, not here",
        ));
    }
    begin(&nfv, version, &instance, Operation::ModifyInfo, body, &[]).await
}

pub(super) async fn instantiate(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let flavour = body.needed("flavourId")?;
    if !matches!(flavour, "default" | "simple") {
        // A package of ours has one; `simple` is what the OpenStack client's samples say.
        let what = format!("there is no flavour `{flavour}`, only `default`");
        return Err(Problem::at("/flavourId", what));
    }
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::Instantiate, body, OF_THE_VIM).await
}

pub(super) async fn terminate(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.word("terminationType", &["GRACEFUL", "FORCEFUL"])?;
    body.number("gracefulTerminationTimeout", 0)?;
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::Terminate, body, &[]).await
}

pub(super) async fn heal(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.text("cause")?;
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::Heal, body, &[]).await
}

pub(super) async fn scale(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.word("type", &["SCALE_OUT", "SCALE_IN"])?;
    body.needed("aspectId")?;
    body.number("numberOfSteps", 1)?;
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::Scale, body, &[]).await
}

pub(super) async fn operate(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.word("changeStateTo", &["STARTED", "STOPPED"])?;
    if body.get("stopType").is_some() {
        body.word("stopType", &["GRACEFUL", "FORCEFUL"])?;
    }
    body.number("gracefulStopTimeout", 0)?;
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::Operate, body, &[]).await
}

pub(super) async fn change_package(
    State(nfv): State<Nfv>,
    Extension(version): Extension<Version>,
    Path(instance): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    body.needed("vnfdId")?;
    body.map("additionalParams")?;
    begin(&nfv, version, &instance, Operation::ChangeVnfpkg, body, OF_THE_VIM).await
}
