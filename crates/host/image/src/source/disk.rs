//! A disk image of this machine: copied once, hashed on the way, its header read first.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::archive::Metered;
use super::blocking;
use crate::catalogue::{Inner, Pulled, Stamp, disk_from_file};
use crate::error::PullError;
use crate::progress::Meter;
use crate::source::archive::open_file;

pub(super) async fn pull(
    inner: &Arc<Inner>,
    path: &Path,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let (inner, path) = (inner.clone(), path.to_owned());
    let (meter, cancel) = (meter.clone(), cancel.clone());
    blocking(move || {
        // Before it is read: a change during the reading makes it new again.
        let stamp = Stamp::of(&path);
        let (file, size) = open_file(&path)?;
        meter.begin(1, 0, size);
        let reader = Metered::new(file, &meter);
        let mut pulled = disk_from_file(&inner, &path, reader, size, &|| cancel.is_cancelled())?;
        meter.layer_done();
        pulled.stamp = stamp;
        Ok(pulled)
    })
    .await
}
