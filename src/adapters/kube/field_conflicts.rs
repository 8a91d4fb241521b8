//! Who changes what the operator puts right, and when to stop answering.
//!
//! One edit is put back at once. Where the same field of the same child is changed again within ten minutes, somebody
//! else means it: the child is left as it is for a while that grows, so that two controllers do not write against each
//! other as fast as they can, and people are told who it is.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;
use tokio::time::Instant;
use tray_domain::names;

use super::apply::ApplyError;
use crate::resources::child::ChildId;

/// A change this soon after the last repair of the same field is the same conflict.
const WINDOW: Duration = Duration::from_secs(600);
/// First and longest time for which a child is left alone.
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), WINDOW);

/// The conflicts that go on.
#[derive(Default)]
pub struct FieldConflicts(Mutex<HashMap<ChildId, FieldConflict>>);

struct FieldConflict {
    field: String,
    /// Digest of what is wanted: another will begins anew.
    wanted: u64,
    repairs: u32,
    last: Instant,
    /// Left alone until then.
    until: Option<Instant>,
    by: Option<String>,
}

/// What to do about a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Round {
    /// Put it back.
    Repair,
    /// It is the same conflict again: find out who it is, and leave the child alone for a while.
    Begins,
    /// Leave it alone still.
    Wait(Contest),
}

/// Who conflicts over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    id: ChildId,
    field: String,
    by: String,
}

impl From<Contest> for ApplyError {
    fn from(contest: Contest) -> Self {
        let Contest { id, field, by } = contest;
        Self::Contested { id, field, by }
    }
}

impl FieldConflicts {
    fn conflicts(&self) -> MutexGuard<'_, HashMap<ChildId, FieldConflict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody changed `field` of a child that was as `wanted`.
    pub fn round(&self, id: &ChildId, field: &str, wanted: u64) -> Round {
        self.round_at(id, field, wanted, Instant::now())
    }

    fn round_at(&self, id: &ChildId, field: &str, wanted: u64, now: Instant) -> Round {
        let mut conflicts = self.conflicts();
        conflicts
            .retain(|_, conflict| conflict.until.is_some() || now.duration_since(conflict.last) < WINDOW);
        let conflict = conflicts
            .get_mut(id)
            .filter(|conflict| conflict.field == field && conflict.wanted == wanted);
        let Some(conflict) = conflict else {
            let first = FieldConflict {
                field: field.to_owned(),
                wanted,
                repairs: 1,
                last: now,
                until: None,
                by: None,
            };
            conflicts.insert(id.clone(), first);
            return Round::Repair;
        };
        match conflict.until {
            None => {
                let (first, longest) = PAUSES;
                let factor = 2_u32.saturating_pow((conflict.repairs - 1).min(16));
                conflict.until = Some(now + first.saturating_mul(factor).min(longest));
                match conflict.by {
                    None => Round::Begins,
                    Some(_) => Round::Wait(conflict.contest(id)),
                }
            }
            Some(until) if now < until => Round::Wait(conflict.contest(id)),
            Some(_) => {
                conflict.until = None;
                conflict.last = now;
                conflict.repairs += 1;
                Round::Repair
            }
        }
    }

    /// The conflict over the labels of a child that no watch shows any more, while it is left alone.
    pub fn hides(&self, id: &ChildId, wanted: u64) -> Option<Contest> {
        let now = Instant::now();
        let conflicts = self.conflicts();
        let over_labels = |conflict: &&FieldConflict| {
            conflict.wanted == wanted && conflict.field.starts_with("metadata.labels")
        };
        let conflict = conflicts.get(id).filter(over_labels)?;
        conflict
            .until
            .filter(|until| now < *until)
            .map(|_| conflict.contest(id))
    }

    /// It is known who it is; none = nobody can be named.
    pub fn named(&self, id: &ChildId, by: Option<String>) -> Contest {
        let by = by.map_or_else(|| NOBODY.to_owned(), |by| format!("field manager {by}"));
        let mut conflicts = self.conflicts();
        let conflict = conflicts.get_mut(id);
        conflict.map_or_else(
            || Contest {
                id: id.clone(),
                field: String::new(),
                by: by.clone(),
            },
            |conflict| {
                conflict.by = Some(by.clone());
                conflict.contest(id)
            },
        )
    }
}

/// What took a field away owns nothing.
const NOBODY: &str = "somebody whom the object does not name";

impl FieldConflict {
    fn contest(&self, id: &ChildId) -> Contest {
        Contest {
            id: id.clone(),
            field: self.field.clone(),
            by: self.by.clone().unwrap_or_else(|| NOBODY.to_owned()),
        }
    }
}

/// The field manager beside us that owns `field`, or comes nearest to it; of several the one that wrote last.
pub fn contester(entries: &[ManagedFieldsEntry], field: &str) -> Option<String> {
    let others = entries
        .iter()
        .filter(|entry| entry.subresource.is_none() && entry.manager.as_deref() != Some(names::OPERATOR));
    let nearest = others
        .map(|entry| {
            (
                depth(entry.fields_v1.as_ref().map(|fields| &fields.0), field),
                entry,
            )
        })
        .filter(|(depth, _)| *depth > 0);
    nearest
        .max_by_key(|(depth, entry)| (*depth, entry.time.as_ref().map(|time| time.0)))
        .and_then(|(_, entry)| entry.manager.clone())
}

/// How many steps of the path are owned.
fn depth(owned: Option<&Value>, field: &str) -> usize {
    let mut at = owned;
    let steps = field.split('.').take_while(|step| {
        at = at.and_then(|owned| owned.get(format!("f:{step}")));
        at.is_some()
    });
    steps.count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::child::ChildKind;

    fn id() -> ChildId {
        ChildId {
            kind: ChildKind::Service,
            namespace: "n".into(),
            name: "web".into(),
        }
    }

    #[test]
    fn the_second_change_within_ten_minutes_is_left_for_a_while_that_grows() {
        let conflicts = FieldConflicts::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let round = |seconds| conflicts.round_at(&id(), "spec.type", 1, at(seconds));
        assert_eq!(round(0), Round::Repair);
        assert_eq!(round(5), Round::Begins);
        let contest = conflicts.named(&id(), Some("helm".into()));
        assert_eq!(round(64), Round::Wait(contest.clone()));
        assert_eq!(round(65), Round::Repair);
        assert_eq!(round(66), Round::Wait(contest.clone()));
        assert_eq!(round(185), Round::Wait(contest), "twice as long");
        assert_eq!(round(186), Round::Repair);
        let text = ApplyError::from(conflicts.named(&id(), Some("helm".into()))).to_string();
        for part in ["Service n/web", "spec.type", "helm"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn another_field_another_will_and_a_later_time_are_no_fight() {
        let conflicts = FieldConflicts::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(conflicts.round_at(&id(), "spec.type", 1, at(0)), Round::Repair);
        assert_eq!(conflicts.round_at(&id(), "spec.ports", 1, at(1)), Round::Repair);
        assert_eq!(conflicts.round_at(&id(), "spec.ports", 2, at(2)), Round::Repair);
        assert_eq!(conflicts.round_at(&id(), "spec.ports", 2, at(603)), Round::Repair);
        assert_eq!(conflicts.round_at(&id(), "spec.ports", 2, at(604)), Round::Begins);
        assert!(conflicts.hides(&id(), 2).is_none(), "it is there to be seen");
    }

    #[test]
    fn who_owns_the_field_is_named() {
        let entry =
            |manager: &str, time: &str, subresource: Option<&str>, fields: Value| -> ManagedFieldsEntry {
                serde_json::from_value(
                    json!({"manager": manager, "time": time, "subresource": subresource, "fieldsV1": fields}),
                )
                .unwrap()
            };
        let spec = json!({"f:spec": {"f:type": {}}});
        let entries = [
            entry("tray-operator", "2026-01-03T00:00:00Z", None, spec.clone()),
            entry("status", "2026-01-03T00:00:00Z", Some("status"), spec.clone()),
            entry("old", "2026-01-01T00:00:00Z", None, spec.clone()),
            entry("new", "2026-01-02T00:00:00Z", None, spec),
            entry(
                "labels",
                "2026-01-03T00:00:00Z",
                None,
                json!({"f:metadata": {"f:labels": {}}}),
            ),
        ];
        assert_eq!(contester(&entries, "spec.type").as_deref(), Some("new"));
        assert_eq!(
            contester(&entries, "metadata.labels.app").as_deref(),
            Some("labels")
        );
        assert_eq!(contester(&entries[..2], "spec.type"), None);
        assert_eq!(contester(&entries, "data.key"), None);
    }
}
