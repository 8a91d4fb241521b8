//! What the server says when it does not do what it is asked: code, reason, details and causes as the real one gives them.
//! Clients decide by these, never by the message.

use kube::core::{
    Status,
    response::{StatusCause, StatusDetails, StatusSummary},
};

use super::kinds::ServedKind;

/// A failure of that code and reason; the other functions make those that the server gives by itself.
pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Box<Status> {
    detailed(code, reason, message, None)
}

fn detailed(
    code: u16,
    reason: &str,
    message: impl Into<String>,
    details: impl Into<Option<StatusDetails>>,
) -> Box<Status> {
    Box::new(Status {
        status: Some(StatusSummary::Failure),
        code,
        message: message.into(),
        metadata: None,
        reason: reason.to_owned(),
        details: details.into(),
    })
}

/// A failure that is about an object, which is named by its plural.
fn about(kind: &ServedKind, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        ..about_nothing()
    }
}

fn about_nothing() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// A group of Kubernetes' own has no such kind, or the kind no such part.
pub(super) fn no_such_resource() -> Box<Status> {
    let message = "the server could not find the requested resource";
    detailed(404, "NotFound", message, about_nothing())
}

pub(super) fn not_found(kind: &ServedKind, name: &str) -> Box<Status> {
    let message = format!("{} \"{name}\" not found", kind.resource());
    detailed(404, "NotFound", message, about(kind, name))
}

pub(super) fn already_exists(kind: &ServedKind, name: &str) -> Box<Status> {
    let message = format!("{} \"{name}\" already exists", kind.resource());
    detailed(409, "AlreadyExists", message, about(kind, name))
}

/// The object is no longer what the caller takes it for.
pub(super) fn conflict(kind: &ServedKind, name: &str, why: &str) -> Box<Status> {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": {why}",
        kind.resource()
    );
    detailed(409, "Conflict", message, about(kind, name))
}

/// Fields that others apply would change: a cause each.
pub(super) fn apply_conflict(fields: &[(String, String)]) -> Box<Status> {
    let causes = fields.iter().map(|(manager, field)| StatusCause {
        reason: "FieldManagerConflict".to_owned(),
        message: format!("conflict with \"{manager}\""),
        field: field.clone(),
    });
    let details = StatusDetails {
        causes: causes.collect(),
        ..about_nothing()
    };
    let message = format!("Apply failed with {} conflicts", fields.len());
    detailed(409, "Conflict", message, details)
}

/// The object is not good: a cause for the field. Here the details name the kind, not the plural.
pub(super) fn invalid(kind: &ServedKind, name: &str, reason: &str, field: &str, why: &str) -> Box<Status> {
    let message = format!(
        "{}.{} \"{name}\" is invalid: {field}: {why}",
        kind.kind, kind.group
    );
    let mut details = about(kind, name);
    details.kind.clone_from(&kind.kind);
    details.causes.push(StatusCause {
        reason: reason.to_owned(),
        message: why.to_owned(),
        field: field.to_owned(),
    });
    detailed(422, "Invalid", message, details)
}

/// Nothing new comes into a namespace that is going.
pub(super) fn terminating(kind: &ServedKind, name: &str, namespace: &str) -> Box<Status> {
    let why = format!("namespace {namespace} is being terminated");
    let mut details = about(kind, name);
    details.causes.push(StatusCause {
        reason: "NamespaceTerminating".to_owned(),
        message: why.clone(),
        field: "metadata.namespace".to_owned(),
    });
    let message = format!(
        "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being \
         terminated",
        kind.resource()
    );
    detailed(403, "Forbidden", message, details)
}

/// The caller reads on from a version that is no longer known.
pub(super) fn expired(asked: u64, oldest: u64) -> Box<Status> {
    failure(
        410,
        "Expired",
        format!("too old resource version: {asked} ({oldest})"),
    )
}

pub(super) fn bad_request(why: impl Into<String>) -> Box<Status> {
    failure(400, "BadRequest", why)
}

pub(super) fn not_allowed(verb: &str) -> Box<Status> {
    let message = format!("the server does not allow this method on the requested resource: {verb}");
    failure(405, "MethodNotAllowed", message)
}

pub(super) fn unsupported(what: &str) -> Box<Status> {
    failure(
        415,
        "UnsupportedMediaType",
        format!("{what} is not supported here"),
    )
}

/// The server has too much in hand (429), is not there (503) or gave up (504). `retry_after` in seconds.
pub fn busy(code: u16, retry_after: Option<u32>) -> Box<Status> {
    let (reason, message) = match code {
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted",
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        _ => (
            "InternalError",
            "an error on the server has prevented the request",
        ),
    };
    let details = StatusDetails {
        retry_after_seconds: retry_after.unwrap_or_default(),
        ..about_nothing()
    };
    detailed(code, reason, message, details)
}
