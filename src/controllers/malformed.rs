//! Objects of our kinds that this version cannot read: stored by an older version, or past a CRD that was looser. They
//! stop nobody else, and say themselves what is wrong with them. A TrayOrg that is deleted while it cannot be read ends, and
//! leaves everything as it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    kinds::Kind,
    trayorg::BackupStatus,
};
use tray_domain::names;

use super::{
    Blocked, Driver, Requeue,
    changes::Change,
    conditions::{ConditionFact, Conditions, Truth, find},
    context::Context,
    orphans, until,
};
use crate::{
    adapters::kube::{
        events::Severity,
        index::{Index, Malformed},
    },
    controllers::view::backups::{deadline, turn},
};

/// Says of each malformed object what is wrong: by an event, and in its status where its kind has conditions.
#[derive(Default)]
pub struct MalformedObjects {
    /// UID and generation of what was told already.
    told: Mutex<HashMap<String, i64>>,
}

fn key(kind: Kind, name: &str) -> String {
    format!("{kind}/{name}")
}

#[async_trait::async_trait]
impl Driver for MalformedObjects {
    fn name(&self) -> &'static str {
        "malformed"
    }

    fn map_to_keys(&self, change: &Change, _: &Index) -> Vec<String> {
        match change {
            Change::Malformed { kind, name } => vec![key(*kind, name)],
            _ => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        let all = index.malformed.keys().into_iter();
        all.map(|(kind, name)| key(kind, &name)).collect()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let Some((kind, name)) = key.split_once('/') else {
            return Ok(Requeue::OnChange);
        };
        let malformed = Kind::named(kind).and_then(|kind| ctx.index.malformed(kind, name));
        let Some(malformed) = malformed else {
            return Ok(Requeue::OnChange);
        };
        if let Some(deleted_at) = is_let_go(&malformed) {
            orphans::leave_unread(ctx, name, deleted_at).await?;
            ctx.cluster
                .take_finalizer_off_malformed(&malformed, names::FINALIZER_ORG)
                .await?;
            let note = "deleted while it could not be read: everything stays as it is; apply the TrayOrg again to take it up";
            let (severity, reason) = (Severity::Warning, reasons::DELETED_UNREAD);
            ctx.events
                .publish_about(&reference(&malformed), severity, reason, "Release", note)
                .await;
            return Ok(Requeue::OnChange);
        }
        let now = ctx.now();
        let uid = malformed.metadata.uid.clone().unwrap_or_default();
        let generation = malformed.metadata.generation.unwrap_or_default();
        let message = message(&malformed);
        // What its status says of its backups turns by time alone.
        let mut next = Requeue::OnChange;
        if malformed.kind == Kind::TrayOrg {
            next = tell_org(ctx, &malformed, &message, now).await?;
        }
        let told = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&uid)
            .copied();
        if told == Some(generation) {
            return Ok(next);
        }
        write_status(ctx, &malformed, generation, &message).await?;
        ctx.events
            .publish_about(
                &reference(&malformed),
                Severity::Warning,
                reasons::MALFORMED,
                "Read",
                message,
            )
            .await;
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid, generation);
        Ok(next)
    }
}

/// When a TrayOrg was deleted that our finalizer still holds.
fn is_let_go(malformed: &Malformed) -> Option<Timestamp> {
    let metadata = &malformed.metadata;
    let mut held = metadata.finalizers.iter().flatten();
    let is_held = malformed.kind == Kind::TrayOrg && held.any(|by| by == names::FINALIZER_ORG);
    let deleted_at = metadata.deletion_timestamp.as_ref()?;
    is_held.then_some(deleted_at.0)
}

fn reference(malformed: &Malformed) -> ObjectReference {
    ObjectReference {
        api_version: Some(malformed.kind.resource().api_version),
        kind: Some(malformed.kind.to_string()),
        name: malformed.metadata.name.clone(),
        namespace: malformed.metadata.namespace.clone(),
        uid: malformed.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn message(malformed: &Malformed) -> String {
    let name = malformed.metadata.name.as_deref().unwrap_or_default();
    format!(
        "{} {name} cannot be read: {}; what runs is left as it is; correct the field and apply the object again",
        malformed.kind, malformed.error
    )
}

/// Writes the status of a TrayOrg, where it says something else. Returns when it is due again.
async fn tell_org(
    ctx: &Context,
    malformed: &Malformed,
    message: &str,
    now: Timestamp,
) -> Result<Requeue, Blocked> {
    let recorded = ctx.cluster.status_of_malformed(malformed).await?;
    let generation = malformed.metadata.generation.unwrap_or_default();
    let (status, turns_at) = of_org(&recorded, generation, message, now);
    let is_news = |pointer: &str| {
        let told = status.pointer(pointer);
        told.is_some() && told != recorded.pointer(pointer)
    };
    if ["/observedGeneration", "/conditions", "/backup/rpo"]
        .into_iter()
        .any(is_news)
    {
        ctx.cluster.write_status_of_malformed(malformed, &status).await?;
    }
    Ok(Requeue::OnChange.or_sooner(turns_at.map(|at| until(at, now))))
}

/// What changes in the status of a TrayOrg that cannot be read, and when it changes by time alone. Whatever says that all
/// is well goes; lost data stays lost, and RpoMet holds until its deadline. Pure.
fn of_org(recorded: &Value, generation: i64, message: &str, now: Timestamp) -> (Value, Option<Timestamp>) {
    let conditions = recorded["conditions"].clone();
    let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    let backup: Option<BackupStatus> = serde_json::from_value(recorded["backup"].clone()).ok();
    let mut told = Conditions::new(&conditions, Some(generation), now);
    told.stalled(reasons::MALFORMED, message).keep(types::DATA_LOST);
    let mut status = json!({"observedGeneration": generation});
    let mut turns_at = None;
    if let Some(mut backup) = backup {
        let unhealthy = ConditionFact::new(false, reasons::MALFORMED, message);
        let mut rpo = find(&conditions, types::RPO_MET).map_or_else(
            || ConditionFact::new(Truth::Unknown, reasons::MALFORMED, message),
            ConditionFact::of,
        );
        turn(&mut backup, &mut rpo, now);
        told.set(types::BACKUP_HEALTHY, &unhealthy)
            .set(types::RPO_MET, &rpo);
        turns_at = deadline(&backup).filter(|deadline| *deadline > now);
        status["backup"] = json!({"rpo": backup.rpo});
    }
    status["conditions"] = json!(told.build());
    (status, turns_at)
}

async fn write_status(
    ctx: &Context,
    malformed: &Malformed,
    generation: i64,
    message: &str,
) -> Result<(), Blocked> {
    // Of a TrayOrg more is told.
    if malformed.kind == Kind::TrayOrg || !malformed.kind.has_conditions() {
        return Ok(());
    }
    let mut conditions = Conditions::new(&[], Some(generation), ctx.now());
    conditions.stalled(reasons::MALFORMED, message);
    let status = json!({"observedGeneration": generation, "conditions": conditions.build()});
    ctx.cluster.write_status_of_malformed(malformed, &status).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "said",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn nothing_is_well_of_an_org_that_cannot_be_read_and_its_objective_is_missed_in_time() {
        let deadline = "2026-01-02T00:00:00Z";
        let mut recorded = json!({
            "backup": {"count": 3, "rpo": {"verdict": "Met", "deadline": deadline}},
            "conditions": [condition("Ready", "True", "AsSpecified"), condition("BackupHealthy", "True", "LastRunGood"),
                condition("RpoMet", "True", "WithinRpo"), condition("DataLost", "True", "VolumeReplaced"),
                condition("WorkloadsAvailable", "True", "AsSpecified")],
        });
        for (now, rpo, verdict, again) in [
            (
                "2026-01-01T23:59:59Z",
                "True/WithinRpo",
                "Met",
                Some(deadline.parse().unwrap()),
            ),
            (deadline, "False/RpoBreached", "Breached", None),
        ] {
            let now = now.parse().unwrap();
            let (status, turns_at) = of_org(&recorded, 2, "cannot be read", now);
            assert_eq!(turns_at, again);
            let said: Vec<String> = status["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| format!("{} {}/{}", c["type"], c["status"], c["reason"]).replace('"', ""))
                .collect();
            let rpo = format!("RpoMet {rpo}");
            let wanted = [
                "Ready False/Malformed",
                "BackupHealthy False/Malformed",
                &rpo,
                "DataLost True/VolumeReplaced",
                "Stalled True/Malformed",
            ];
            assert_eq!(said, wanted);
            assert_eq!(status["backup"]["rpo"]["verdict"], verdict);
            // What was written is not written again.
            recorded["conditions"] = status["conditions"].clone();
            recorded["backup"]["rpo"] = status["backup"]["rpo"].clone();
            assert_eq!(of_org(&recorded, 2, "cannot be read", now).0, status);
        }
    }

    #[test]
    fn an_org_that_never_had_a_status_says_that_it_cannot_be_read() {
        let (status, turns_at) = of_org(&Value::Null, 1, "cannot be read", Timestamp::UNIX_EPOCH);
        assert_eq!(
            (status["conditions"].as_array().unwrap().len(), turns_at),
            (2, None)
        );
        assert!(status.get("backup").is_none());
    }

    #[test]
    fn the_message_names_object_field_and_remedy() {
        let text = message(&Malformed {
            kind: Kind::TrayOrg,
            metadata: ObjectMeta {
                name: Some("acme".to_owned()),
                ..ObjectMeta::default()
            },
            error: "missing field `plan`".to_owned(),
        });
        for part in ["TrayOrg acme", "`plan`", "apply the object again"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
