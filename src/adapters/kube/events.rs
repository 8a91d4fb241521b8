//! Kubernetes events about our objects. They inform people and are best effort: no controller waits for one or fails
//! because of one.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;
use tray_domain::names;

use super::answer::told;

/// What sort of news an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// Writes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// In the name of the process `identity`.
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: names::OPERATOR.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
        }
    }

    /// Says of `object` that `action` led to `reason`; `note` is for people.
    pub async fn publish(
        &self,
        object: &impl Resource<DynamicType = ()>,
        severity: Severity,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        self.publish_about(&object.object_ref(&()), severity, reason, action, note)
            .await;
    }

    /// As [`Self::publish`], about any object.
    pub async fn publish_about(
        &self,
        object: &ObjectReference,
        severity: Severity,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        // The API server takes no more than 1 KiB.
        let note: String = note.into().chars().take(1_000).collect();
        let event = Event {
            type_: match severity {
                Severity::Normal => EventType::Normal,
                Severity::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(note),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            let error = told(&error);
            warn!(error, reason, object = object.name, "failed to write an event");
        }
    }
}
