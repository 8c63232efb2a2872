//! The same for a site of this program's own: attached to the daemon, it is told of every change of an image.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use vnode_imagelist::{
    event::{Event as ListEvent, Kind},
    publish::{ImageChange, PublishError, PublishedImage, Publisher},
};

use crate::{
    event::Event,
    program::{self, ENDPOINT},
    publish::{Ask, Error, OpenNebula},
    settings::Settings,
};

/// Where OpenNebula's packages keep the administrator's session.
const AUTH: &str = "/var/lib/one/.one/one_auth";

/// Follows a site's images in a cloud.
#[derive(Debug)]
pub struct Following {
    cloud: OpenNebula,
    /// Disks are prepared and journals are kept here, when the settings say no other place.
    work: PathBuf,
    /// Whether what earlier daemons left was looked at.
    recovered: OnceLock<()>,
}

impl Following {
    /// Publishes in `cloud`; `work` is made when it is needed.
    pub fn new(cloud: OpenNebula, work: PathBuf) -> Self {
        Self { work: cloud.work_or(work), cloud, recovered: OnceLock::new() }
    }

    /// By the settings in `file`; the server is not spoken to yet.
    ///
    /// # Errors
    /// A sentence, when settings or session cannot be read.
    pub fn open(file: &Path, work: PathBuf) -> Result<Self, String> {
        let settings = Settings::read(file).map_err(|error| vnode_protocol::chain(&error))?;
        let endpoint = settings.endpoint.as_deref().unwrap_or(ENDPOINT);
        let auth = settings.auth_file.as_deref().unwrap_or(Path::new(AUTH));
        let cloud = program::open(endpoint, auth, &settings)?;
        Ok(Self::new(OpenNebula::new(cloud, settings, Vec::new()), work))
    }

    async fn told(
        &self,
        change: &ImageChange,
        cancellation: &CancellationToken,
    ) -> Result<(), Error> {
        if self.recovered.get().is_none() && self.work.join(".journal").is_dir() {
            // A failure is told by the image it is of, when its turn comes.
            match self.cloud.undo_all(&self.work, cancellation).await {
                Ok(()) => drop(self.recovered.set(())),
                Err(error) => {
                    tracing::warn!(error = vnode_protocol::chain(&error), "not all is undone");
                }
            }
        }
        let image = change.image();
        let done = match change {
            ImageChange::Available { .. } | ImageChange::Replaced { .. } => {
                let event = event(Kind::AvailablePostfix, image);
                self.cloud.available_at(&event, &image.file, &self.work, cancellation).await?
            }
            ImageChange::Expired { .. } => {
                let event = event(Kind::ExpirePostfix, image);
                let identifier = event.identifier()?;
                self.cloud
                    .expired_at(&event, identifier, &self.work, Ask::Ended, cancellation)
                    .await?
            }
        };
        tracing::info!(
            identifier = image.image.identifier,
            change = change.kind(),
            ?done,
            "followed"
        );
        Ok(())
    }
}

/// The variables of an image, as an event program gets them.
fn event(kind: Kind, image: &PublishedImage) -> Event {
    let file = image.file.file_name().unwrap_or_default().to_string_lossy();
    let own = ListEvent::of_image(kind, &image.image, &image.list, image.vo.as_deref(), &file);
    let kind = ("VMCATCHER_EVENT_TYPE".to_owned(), kind.to_string());
    let own = own.variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    std::iter::once(kind).chain(own).collect()
}

impl Publisher for Following {
    fn name(&self) -> &str {
        "opennebula"
    }

    fn publish<'a>(
        &'a self,
        change: &'a ImageChange,
        cancellation: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            self.told(change, cancellation).await.map_err(|error| {
                if error.may_pass() {
                    PublishError::later(&error)
                } else {
                    PublishError::never(&error)
                }
            })
        })
    }
}
