//! Objects of our kinds that this version cannot read: stored by an older version, or past a CRD that was looser. They
//! stop nobody else, and say themselves what is wrong with them. A TrayOrg that is deleted while it cannot be read ends, and
//! leaves everything as it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde_json::json;

use super::{Driver, Failure, Next, changes::Change, conditions::Conditions, context::Context, org::orphan};
use crate::{
    adapters::kube::{
        events::Severity,
        index::{Index, Malformed},
    },
    api::{
        backup_schedule::BackupSchedule, conditions::reasons, orgrestore::OrgRestore,
        orgsnapshot::OrgSnapshot, region::Region, support_access::SupportAccess, trayorg::TrayOrg,
    },
    domain::names,
};

/// Says of each malformed object what is wrong: by an event, and in its status where its kind has conditions.
#[derive(Default)]
pub struct MalformedObjects {
    /// UID and generation of what was told already.
    told: Mutex<HashMap<String, i64>>,
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

#[async_trait::async_trait]
impl Driver for MalformedObjects {
    fn name(&self) -> &'static str {
        "malformed"
    }

    fn concerns(&self, change: &Change, _: &Index) -> Vec<String> {
        match change {
            Change::Malformed { kind, name } => vec![key(kind, name)],
            _ => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        let all = index.malformed.keys().into_iter();
        all.map(|(kind, name)| key(&kind, &name)).collect()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Next, Failure> {
        let Some((kind, name)) = key.split_once('/') else {
            return Ok(Next::OnChange);
        };
        let Some(malformed) = ctx.index.malformed(kind, name) else {
            return Ok(Next::OnChange);
        };
        if let Some(deleted_at) = is_let_go(&malformed) {
            orphan::leave_unread(ctx, name, deleted_at).await?;
            ctx.cluster
                .take_finalizer_off_malformed::<TrayOrg>(&malformed, names::FINALIZER_ORG)
                .await?;
            let note = "deleted while it could not be read: everything stays as it is; apply the TrayOrg again to take it up";
            let (severity, reason) = (Severity::Warning, reasons::DELETED_UNREAD);
            ctx.events
                .publish_about(&reference(&malformed), severity, reason, "Release", note)
                .await;
            return Ok(Next::OnChange);
        }
        let uid = malformed.metadata.uid.clone().unwrap_or_default();
        let generation = malformed.metadata.generation.unwrap_or_default();
        let told = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&uid)
            .copied();
        if told == Some(generation) {
            return Ok(Next::OnChange);
        }
        let message = message(&malformed);
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
        Ok(Next::OnChange)
    }
}

/// When a TrayOrg was deleted that our finalizer still holds.
fn is_let_go(malformed: &Malformed) -> Option<Timestamp> {
    let metadata = &malformed.metadata;
    let mut held = metadata.finalizers.iter().flatten();
    let is_held = malformed.kind == "TrayOrg" && held.any(|by| by == names::FINALIZER_ORG);
    let deleted_at = metadata.deletion_timestamp.as_ref()?;
    is_held.then_some(deleted_at.0)
}

fn reference(malformed: &Malformed) -> ObjectReference {
    ObjectReference {
        api_version: Some(TrayOrg::api_version(&()).into_owned()),
        kind: Some(malformed.kind.clone()),
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

async fn write_status(
    ctx: &Context,
    malformed: &Malformed,
    generation: i64,
    message: &str,
) -> Result<(), Failure> {
    let mut conditions = Conditions::new(&[], Some(generation), ctx.now());
    conditions.stalled(reasons::MALFORMED, message);
    let status = json!({"observedGeneration": generation, "conditions": conditions.build()});
    let cluster = &ctx.cluster;
    match malformed.kind.as_str() {
        "TrayOrg" => {
            cluster
                .write_status_of_malformed::<TrayOrg>(malformed, &status)
                .await?;
        }
        "Region" => {
            cluster
                .write_status_of_malformed::<Region>(malformed, &status)
                .await?;
        }
        "BackupSchedule" => {
            cluster
                .write_status_of_malformed::<BackupSchedule>(malformed, &status)
                .await?;
        }
        "OrgSnapshot" => {
            cluster
                .write_status_of_malformed::<OrgSnapshot>(malformed, &status)
                .await?;
        }
        "OrgRestore" => {
            cluster
                .write_status_of_malformed::<OrgRestore>(malformed, &status)
                .await?;
        }
        "SupportAccess" => {
            cluster
                .write_status_of_malformed::<SupportAccess>(malformed, &status)
                .await?;
        }
        // The other kinds have no conditions.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;

    #[test]
    fn the_message_names_object_field_and_remedy() {
        let text = message(&Malformed {
            kind: "TrayOrg".to_owned(),
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
