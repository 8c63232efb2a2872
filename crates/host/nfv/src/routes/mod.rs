//! The resources over HTTP.

mod body;
mod instance;
mod list;
mod occurrence;
mod package;
mod subscription;
mod version;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn;
use axum::routing::{get, post, put};

use crate::problem::Problem;
use crate::service::Nfv;
use version::Version;

/// Largest body of a request that is no package, bytes.
const BODY: usize = 1 << 20;

impl Nfv {
    /// All resources, ready to be merged into a server. Who may speak is the server's to decide.
    pub fn router(&self) -> Router {
        let mut router = Router::new()
            .route("/vnfpkgm/api_versions", get(version::packages))
            .route("/vnflcm/api_versions", get(version::lifecycle));
        for version in Version::ALL {
            router = router
                .nest(&format!("/vnfpkgm/{}", version.word()), self.packages_of(version))
                .nest(&format!("/vnflcm/{}", version.word()), self.lifecycle_of(version));
        }
        router
    }

    fn packages_of(&self, version: Version) -> Router {
        Router::new()
            .route("/api_versions", get(version::packages_of))
            .route("/vnf_packages", get(package::list).post(package::create))
            .route(
                "/vnf_packages/{id}",
                get(package::show).patch(package::change).delete(package::delete),
            )
            .route("/vnf_packages/{id}/vnfd", get(package::descriptor))
            .route("/vnf_packages/{id}/manifest", get(package::manifest))
            .route("/vnf_packages/{id}/artifacts/{*path}", get(package::artifact))
            .route(
                "/vnf_packages/{id}/package_content/upload_from_uri",
                post(package::upload_from_uri),
            )
            .layer(DefaultBodyLimit::max(BODY))
            // A package is as large as `Options::largest_package` lets it, and never held in memory.
            .route(
                "/vnf_packages/{id}/package_content",
                put(package::upload).get(package::content).layer(DefaultBodyLimit::disable()),
            )
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(axum::Extension(version))
            .layer(from_fn(move |request, next| version.of_packages(request, next)))
            .with_state(self.clone())
    }

    fn lifecycle_of(&self, version: Version) -> Router {
        let mut router = Router::new()
            .route("/api_versions", get(version::lifecycle_of))
            .route("/vnf_instances", get(instance::list).post(instance::create))
            .route(
                "/vnf_instances/{id}",
                get(instance::show).patch(instance::modify).delete(instance::delete),
            )
            .route("/vnf_instances/{id}/instantiate", post(instance::instantiate))
            .route("/vnf_instances/{id}/terminate", post(instance::terminate))
            .route("/vnf_instances/{id}/heal", post(instance::heal))
            .route("/vnf_instances/{id}/scale", post(instance::scale))
            .route("/vnf_instances/{id}/operate", post(instance::operate))
            .route("/vnf_lcm_op_occs", get(occurrence::list))
            .route("/vnf_lcm_op_occs/{id}", get(occurrence::show))
            .route("/vnf_lcm_op_occs/{id}/retry", post(occurrence::retry))
            .route("/vnf_lcm_op_occs/{id}/rollback", post(occurrence::rollback))
            .route("/vnf_lcm_op_occs/{id}/fail", post(occurrence::fail))
            .route("/vnf_lcm_op_occs/{id}/cancel", post(occurrence::cancel))
            .route("/subscriptions", get(subscription::list).post(subscription::create))
            .route("/subscriptions/{id}", get(subscription::show).delete(subscription::delete));
        if version == Version::V2 {
            router =
                router.route("/vnf_instances/{id}/change_vnfpkg", post(instance::change_package));
        }
        router
            .layer(DefaultBodyLimit::max(BODY))
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(axum::Extension(version))
            .layer(from_fn(move |request, next| version.of_lifecycle(request, next)))
            .with_state(self.clone())
    }
}

async fn nowhere(uri: Uri) -> Problem {
    let path = uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    if matches!(last, "change_ext_conn" | "change_flavour" | "scale_to_level" | "change_vnfpkg") {
        return Problem::not_found(format!("`{last}` is not supported"));
    }
    Problem::not_found(format!("there is nothing at `{path}`"))
}

async fn wrong_method(uri: Uri) -> Problem {
    let what = format!("`{}` knows no such method", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, what)
}
