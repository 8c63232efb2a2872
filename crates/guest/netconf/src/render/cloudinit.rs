//! cloud-init's network-config of version 2: the same tree as netplan's. Written when it is asked for, applied by nobody.

use super::{Changed, Fragment, Input, RenderError, Renderer, Steps, netplan};
use crate::draft::Draft;

/// The output form for cloud-init.
#[derive(Debug)]
pub struct CloudInit;

impl Renderer for CloudInit {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let path = format!("/etc/cloud/cloud.cfg.d/99-{}-network.cfg", input.agent);
        let text = netplan::document(input.interfaces, false, |_, _| {});
        draft.write_private(&path, text.into_bytes());
        Ok(Vec::new())
    }

    fn steps(&self, _: &Input<'_>, _: Changed<'_>, _: &Draft<'_>) -> Steps {
        Steps::default()
    }
}
