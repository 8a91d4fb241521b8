//! How an object goes: at once, or when nothing holds it any more. What depends on it is the garbage collector's, which is
//! not the server's.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::core::Status;
use serde_json::{Value, json};

use super::{
    failure,
    kinds::{ServedKind, Trait},
    object::{self, Name, Stored},
    request::Verb,
    state::{State, Writer},
};

/// The garbage collector holds the object until it has let go what depends on it.
const ORPHAN: &str = "orphan";
/// The garbage collector holds the object until what depends on it is gone.
const FOREGROUND: &str = "foregroundDeletion";
/// How long a pod has to end, in seconds, where it does not say.
const GRACE: i64 = 30;

/// What became of an object that was deleted.
#[derive(Clone, Debug)]
pub(super) enum Deleted {
    /// It is gone. This it was.
    Gone(Arc<Stored>),
    /// It is going: something holds it.
    Going(Arc<Stored>),
}

impl State {
    /// Deletes an object, by options as in the body of a request.
    pub(super) fn delete(
        &mut self,
        kind: &ServedKind,
        name: &Name,
        options: &Value,
        writer: &Writer,
    ) -> Result<Deleted, Box<Status>> {
        let resource = kind.resource();
        let present = self.store.get(&resource, name);
        let Some(present) = present else {
            return Err(failure::not_found(kind, &name.name));
        };
        let wanted = json!({"metadata": options["preconditions"]});
        Self::is_meant(kind, &present.object, &wanted)?;
        self.admit(kind, writer, Verb::Delete, Some(&present.object), None)?;
        if resource == "namespaces" {
            return Ok(self.delete_namespace(kind, name, &present));
        }
        let now = self.now();
        let mut going = present.object.clone();
        let grace = if resource == "pods" {
            match shortened(&going, options, now) {
                Grace::Unchanged => return Ok(Deleted::Going(present)),
                Grace::Seconds(seconds) => seconds,
            }
        } else {
            0
        };
        let held = held_by(kind, &going, options["propagationPolicy"].as_str());
        if held.is_empty() && grace == 0 {
            return self
                .take(kind, name)
                .map(Deleted::Gone)
                .ok_or_else(|| failure::not_found(kind, &name.name));
        }
        going["metadata"]["finalizers"] = json!(held);
        object::tidy(&mut going);
        // A pod has until the end of its grace; anything else that is going already keeps its time.
        if resource == "pods" || !object::is_terminating(&going) {
            object::mark_deleted(&mut going, now, grace);
        }
        if going == present.object {
            return Ok(Deleted::Going(present));
        }
        self.put(kind, going, present.owners.clone())
            .map(Deleted::Going)
            .ok_or_else(|| failure::not_found(kind, &name.name))
    }

    /// A namespace goes when what is in it has gone and its controller lets it.
    fn delete_namespace(&mut self, kind: &ServedKind, name: &Name, present: &Arc<Stored>) -> Deleted {
        if object::is_terminating(&present.object) {
            return Deleted::Going(present.clone());
        }
        let mut going = present.object.clone();
        let now = self.now();
        going["metadata"]["deletionTimestamp"] = json!(object::seconds(now));
        going["status"]["phase"] = json!("Terminating");
        if object::is_let_go(&going) {
            self.take(kind, name);
            return Deleted::Gone(present.clone());
        }
        let put = self.put(kind, going, present.owners.clone());
        Deleted::Going(put.unwrap_or_else(|| present.clone()))
    }
}

/// The finalizers that an object has when it is deleted.
fn held_by(kind: &ServedKind, object: &Value, policy: Option<&str>) -> Vec<String> {
    let before = object::finalizers(object);
    let had = |finalizer: &str| before.iter().any(|present| present == finalizer);
    let orphans = match policy {
        Some(policy) => policy == "Orphan",
        None => had(ORPHAN) || (kind.is(Trait::Orphaning) && !had(FOREGROUND)),
    };
    let waits = match policy {
        Some(policy) => policy == "Foreground",
        None => had(FOREGROUND),
    };
    let mut held = before.clone();
    held.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    held.extend(orphans.then(|| ORPHAN.to_owned()));
    held.extend((waits && !orphans).then(|| FOREGROUND.to_owned()));
    held
}

/// How long a pod has to end.
enum Grace {
    /// It is ending and has no less time than before.
    Unchanged,
    /// So long from now.
    Seconds(i64),
}

fn shortened(pod: &Value, options: &Value, now: Timestamp) -> Grace {
    let asked = options["gracePeriodSeconds"]
        .as_i64()
        .map(|seconds| seconds.max(0));
    let Some(has) = pod["metadata"]["deletionGracePeriodSeconds"].as_i64() else {
        let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
        let runs_nowhere = pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
        return Grace::Seconds(if runs_nowhere || has_ended {
            0
        } else {
            asked.or(own).unwrap_or(GRACE)
        });
    };
    match asked {
        // From when it was deleted, not from now.
        Some(asked) if asked < has => {
            let end = object::text(pod, "deletionTimestamp").and_then(|end| end.parse::<Timestamp>().ok());
            let begun = end.and_then(|end| end.saturating_sub(SignedDuration::from_secs(has)).ok());
            let left = begun.map_or(asked, |begun| begun.as_second() + asked - now.as_second());
            Grace::Seconds(if asked == 0 { 0 } else { left.max(1) })
        }
        _ => Grace::Unchanged,
    }
}
