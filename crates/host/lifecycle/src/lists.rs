//! Signed image lists on this host: opened with it, refreshed by it, told of in its events.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use vnode_event::Log;
use vnode_imagelist::Site;
use vnode_imagelist::cache::Shelf;
use vnode_imagelist::publish::{ImageChange, PublishError, Publisher};
use vnode_imagelist::site::Request;
use vnode_operation::OperationId;
use vnode_store::Store;

use crate::error::{Error, Result};
use crate::host::{Host, Options};
use crate::inner::Inner;
use crate::work::Work;

/// Subject of the operation.
const SUBJECT: &str = "image-lists";

pub(crate) async fn open(
    options: &Options,
    store: &Arc<dyn Store>,
    events: &Arc<Log>,
    catalogue: &vnode_image::Catalogue,
    users: &Arc<OnceLock<Weak<Inner>>>,
) -> Result<Arc<Site>> {
    let users = Arc::clone(users);
    let shelf = Shelf {
        catalogue: catalogue.clone(),
        in_use: Arc::new(move || {
            let inner = users.get().and_then(Weak::upgrade);
            inner.map(|inner| inner.images_in_use()).unwrap_or_default()
        }),
        // The settings say.
        max_bytes: u64::MAX,
    };
    let site = Site::open(Arc::clone(store), options.state_dir.join("lists"), shelf)
        .await
        .map_err(|source| Error::failed("cannot open the signed image lists").because(source))?;
    site.attach(Arc::new(Told(Arc::clone(events))));
    Ok(site)
}

/// Tells what waits, and refreshes the lists from time to time, until the host ends.
pub(crate) fn follow(host: &Arc<Host>) {
    let (site, stop) = (Arc::clone(&host.inner.lists), host.inner.stop.clone());
    let weak = Arc::downgrade(host);
    host.inner.tasks.spawn(site.serve(stop, move || {
        let host = weak.upgrade();
        async move {
            let Some(host) = host else { return };
            if let Err(error) = host.image_lists_work(Request::default()).await {
                tracing::error!("cannot refresh the signed image lists: {error}");
            }
        }
    }));
}

impl Host {
    /// Signed image lists: subscriptions, endorsers, selections, settings.
    pub fn image_lists(&self) -> &Arc<Site> {
        &self.inner.lists
    }

    /// Starts work on signed lists; how it ended is [`Site::last`].
    ///
    /// # Errors
    /// The operation cannot begin.
    pub async fn image_lists_work(&self, request: Request) -> Result<OperationId> {
        let work = Work::ImageLists { request: Box::new(request) };
        self.submit_steps("image.lists", SUBJECT.to_owned(), &[work]).await
    }
}

/// Puts every change of a list's image into the host's events.
#[derive(Debug)]
struct Told(Arc<Log>);

impl Publisher for Told {
    fn name(&self) -> &str {
        "events"
    }

    fn publish<'a>(
        &'a self,
        change: &'a ImageChange,
        _cancellation: &'a CancellationToken,
    ) -> BoxFuture<'a, std::result::Result<(), PublishError>> {
        let image = change.image();
        let data = serde_json::json!({
            "list": image.list,
            "identifier": image.image.identifier,
            "title": image.image.title,
            "version": image.image.version,
            "sha512": image.image.sha512,
            "file": image.file,
        });
        let subject = format!("image/list:{}", image.image.identifier);
        self.0.append(format!("image.{}", change.kind()), &subject, None, data);
        Box::pin(std::future::ready(Ok(())))
    }
}
