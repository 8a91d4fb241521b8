//! How far a long call has come.

/// Told of what was done since the last call, from several threads.
pub trait Progress: Send + Sync {
    /// `files` entries and `bytes` of content more are done.
    fn advance(&self, files: u64, bytes: u64);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _files: u64, _bytes: u64) {}
}
