//! Steps about images.

use vnode_image::{PullPolicy, PullProgress, Reference};
use vnode_operation::StepContext;

use crate::error::{Error, Kind, Result};
use crate::inner::Inner;
use crate::registry::lock;

/// Brings an image in and holds it until the operation has ended.
pub(super) async fn ensure(
    inner: &Inner,
    context: &StepContext,
    image: &str,
    policy: PullPolicy,
) -> Result<()> {
    let reference = parse(image)?;
    let progress = |progress: &PullProgress| {
        context.progress(progress.bytes_done, progress.bytes_total, "bytes");
    };
    let mut made =
        inner.catalogue.ensure(&reference, policy, &progress, context.cancellation().clone()).await;
    if let (Err(vnode_image::Error::NotOfAList { .. }), Reference::List(identifier)) =
        (&made, &reference)
        && policy != PullPolicy::Never
    {
        inner
            .lists
            .bring(identifier, &Meter(context), context.cancellation())
            .await
            .map_err(|source| Error::failed(format!("image `{image}`")).because(source))?;
        made = inner
            .catalogue
            .ensure(&reference, policy, &progress, context.cancellation().clone())
            .await;
    }
    let made = made.map_err(|source| image_error(image, source))?;
    for warning in &made.warnings {
        inner.warn(&format!("image/{image}"), &context.operation().to_string(), warning);
    }
    lock(&inner.images).insert((context.operation().to_string(), image.to_owned()), made);
    Ok(())
}

pub(super) async fn import(
    inner: &Inner,
    context: &StepContext,
    reference: &str,
    name: &str,
) -> Result<()> {
    let source = parse(reference)?;
    let progress = |progress: &PullProgress| {
        context.progress(progress.bytes_done, progress.bytes_total, "bytes");
    };
    inner
        .catalogue
        .import(&source, name, &progress, context.cancellation().clone())
        .await
        .map(drop)
        .map_err(|source| image_error(reference, source))
}

/// Progress of downloads, as an operation shows it.
struct Meter<'a>(&'a StepContext);

impl vnode_imagelist::download::Progress for Meter<'_> {
    fn at(&self, here: u64, of: u64) {
        self.0.progress(here, of, "bytes");
    }
}

/// Refreshes lists and runs the cache; how each list and image fared is in the summary the site keeps.
pub(super) async fn lists(
    inner: &Inner,
    context: &StepContext,
    request: &vnode_imagelist::site::Request,
) -> Result<()> {
    let meter = Meter(context);
    let summary = inner
        .lists
        .work(request, &meter, context.cancellation())
        .await
        .map_err(|source| Error::failed("signed lists").because(source))?;
    let operation = context.operation().to_string();
    for list in summary.lists.iter().filter(|list| list.changed || list.error.is_some()) {
        inner.tell(
            if list.error.is_some() { "list.refused" } else { "list.changed" },
            &format!("list/{}", list.list),
            Some(&operation),
            serde_json::json!({ "error": list.error, "new": list.new_images }),
        );
    }
    for failed in &summary.failed {
        inner.warn(&format!("image/list:{}", failed.identifier), &operation, &failed.error);
    }
    for image in &summary.unusable {
        inner.warn(&format!("image/list:{}", image.identifier), &operation, &image.why);
    }
    Ok(())
}

fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|source| {
        Error::usage(vnode_protocol::chain(&source)).hint(
            "an image is `host`, `tar:/PATH`, `oci:/PATH`, `docker-archive:/PATH`, `disk:/PATH`, `list:IDENTIFIER` or a registry reference",
        )
    })
}

fn image_error(image: &str, source: vnode_image::Error) -> Error {
    if source.to_string().contains(image) {
        // It says itself which one.
        return Error::new(Kind::Failed, vnode_protocol::chain(&source));
    }
    Error::new(Kind::Failed, format!("image `{image}`")).because(source)
}
