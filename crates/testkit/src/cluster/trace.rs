//! What was asked, in order: the same world gives the same trace.

use jiff::Timestamp;

use super::request::Verb;

/// A request and what it was answered with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Traced {
    /// When the server came to it.
    pub at: Timestamp,
    /// Who asked.
    pub user: String,
    /// What was to be done.
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    /// Code of the answer; 0 = none was given, and nothing was done.
    pub code: u16,
    /// The answer did not reach the caller.
    pub lost: bool,
}
