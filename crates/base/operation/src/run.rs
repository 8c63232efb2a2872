//! One operation being run.
#[derive(Clone)]
pub(crate) struct Report {}
impl Report {
    pub(crate) fn progress(&self, _done: u64, _total: u64, _text: &str) {}
}
