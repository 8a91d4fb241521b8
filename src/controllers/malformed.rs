//! Objects of our kinds that this version cannot read: stored by an older version, or past a CRD that was looser. They
//! stop nobody else, and say themselves what is wrong with them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde_json::json;

use super::{Driver, Failure, Next, changes::Change, conditions::Conditions, context::Context};
use crate::{
    adapters::kube::{
        events::Severity,
        index::{Index, Malformed},
    },
    api::{
        conditions::reasons, orgrestore::OrgRestore, orgsnapshot::OrgSnapshot, region::Region,
        support_access::SupportAccess, trayorg::TrayOrg,
    },
};

/// Says of each malformed object what is wrong: by an event, and in its status where its kind has one.
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
        let object = ObjectReference {
            api_version: Some(TrayOrg::api_version(&()).into_owned()),
            kind: Some(kind.to_owned()),
            name: malformed.metadata.name.clone(),
            namespace: malformed.metadata.namespace.clone(),
            uid: malformed.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        ctx.events
            .publish_about(&object, Severity::Warning, reasons::MALFORMED, "Read", message)
            .await;
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid, generation);
        Ok(Next::OnChange)
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
        // The other kinds have no status.
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
