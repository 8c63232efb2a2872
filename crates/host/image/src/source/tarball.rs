//! A root file system in a tarball: an image of one layer and no settings.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{blocking, unpack};
use crate::ImageConfig;
use crate::catalogue::{Expected, Inner, Pulled, Stamp};
use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest::this_machine;
use crate::progress::Meter;
use crate::source::archive::{Metered, open_file};

pub(super) async fn pull(
    inner: &Arc<Inner>,
    path: &Path,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let owned = path.to_owned();
    // Before it is read: a change during the reading makes it new again.
    let (file, size, stamp) = blocking(move || {
        let stamp = Stamp::of(&owned);
        let (file, size) = open_file(&owned)?;
        Ok((file, size, stamp))
    })
    .await?;
    meter.begin(1, 0, size);
    let expected = Expected { name: path.display().to_string(), packed: None, plain: None };
    let (layer, pins) = unpack(inner, Metered::new(file, meter), expected, cancel).await?;
    meter.layer_done();
    let platform = this_machine();
    // What docker's image id is: the digest of a configuration; here of the least one there can be.
    let config = format!(
        r#"{{"architecture":"{}","os":"{}","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#,
        platform.architecture, platform.os
    );
    Ok(Pulled {
        id: Digest::of(config.as_bytes()),
        manifest_digest: None,
        layers: vec![layer],
        disk: None,
        config: ImageConfig::default(),
        stamp,
        pins,
    })
}
