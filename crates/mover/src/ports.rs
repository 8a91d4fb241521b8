//! What a mover needs besides its bucket and its key: its org's ledger, and the objects of its namespace.

use serde_json::Value;
use tray_domain::{archived_kinds::ObjectKind, ledger::LedgerState};
use tray_ledger::{PutOutcome, RemoteError};

/// The org's ledger with the rights of a mover: to read.
#[async_trait::async_trait]
pub trait LedgerReader: Send + Sync {
    /// What its entries add up to now. A ledger that cannot be believed is [`RemoteError::Corrupt`].
    async fn read(&self) -> Result<LedgerState, RemoteError>;
}

/// A namespaced kind that the API server serves and lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServedKind {
    /// API group, empty for the core.
    pub group: String,
    /// Name in URLs and rights.
    pub plural: String,
}

/// Some objects of a listing.
#[derive(Clone, Debug, Default)]
pub struct ObjectPage {
    /// Whole objects, each with `apiVersion` and `kind`.
    pub objects: Vec<Value>,
    /// Where the listing goes on; none = it ends here.
    pub next: Option<String>,
}

/// What the API server said of an object that it did not take: in codes, since its words, and those of webhooks, may quote what is
/// the org's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRefusal {
    /// Its own word: `Invalid`, `Forbidden`, `InternalError`.
    pub reason: String,
    /// Names the object, and which of its fields are wrong.
    pub message: String,
}

/// Why the API server did not do what it was asked. Every text names the object or kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The API server, or a webhook that it asked, does not take this object.
    #[error("refused: {}: {}", .0.reason, .0.message)]
    Refused(ObjectRefusal),
    /// Somebody changed the object at the same time.
    #[error("changed meanwhile: {0}")]
    Conflict(String),
    /// The API server, or a webhook that it asked, failed at this object: whether it is the object's is not known.
    #[error("failed: {}: {}", .0.reason, .0.message)]
    Failed(ObjectRefusal),
    /// The server does not serve the kind.
    #[error("not served: {0}")]
    NotServed(String),
    /// It did not answer well; later it may.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// The objects of one namespace, as JSON.
#[async_trait::async_trait]
pub trait NamespaceObjects: Send + Sync {
    /// Every namespaced kind that can be listed.
    async fn served_kinds(&self) -> Result<Vec<ServedKind>, ObjectError>;
    /// Some objects of a kind; `after` is the `next` of the page before.
    async fn list(&self, kind: &ObjectKind, after: Option<&str>) -> Result<ObjectPage, ObjectError>;
    /// One object; none where there is none.
    async fn get(&self, kind: &ObjectKind, name: &str) -> Result<Option<Value>, ObjectError>;
    /// Creates an object unless its name is taken.
    async fn create(&self, kind: &ObjectKind, object: &Value) -> Result<PutOutcome, ObjectError>;
    /// Replaces the object of that name and resourceVersion.
    async fn replace(&self, kind: &ObjectKind, object: &Value) -> Result<(), ObjectError>;
}
