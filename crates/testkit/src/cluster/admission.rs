//! What else may refuse a write: policies and quotas, which the world around the server decides.

use kube::core::Status;
use serde_json::Value;

use super::{kinds::ServedKind, request::Verb};

/// Decides which writes of clients are let in. Writes of the world itself are.
pub trait Admission: Send {
    /// Refuses a write, by the answer that its caller gets.
    fn admit(&mut self, review: &Review<'_>) -> Result<(), Box<Status>>;
}

/// A write that is about to be done.
#[derive(Clone, Copy, Debug)]
pub struct Review<'a> {
    /// Who writes.
    pub user: &'a str,
    /// How: create, update or delete. A patch is an update.
    pub verb: Verb,
    /// The kind.
    pub kind: &'a ServedKind,
    /// The part that is written; empty = the whole.
    pub subresource: &'a str,
    /// The object as it is; none = it is made.
    pub old: Option<&'a Value>,
    /// The object as it would be; none = it is deleted.
    pub new: Option<&'a Value>,
}
