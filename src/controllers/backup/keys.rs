//! An org's ledger and key: claimed and made before anything is copied.

use std::sync::{Mutex, PoisonError};
use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::{subject::Subject, trouble::Trouble};
use crate::{
    adapters::ledger_store::{Ledger, LedgerStore},
    api::conditions::reasons,
    domain::{
        bucket_layout,
        ids::{KmsKeyArn, OrgId},
        ledger::Event,
        session_policy::MASTER_KEY_PURPOSE,
    },
    ports::{ObjectStore, RegionServices},
};

/// Version of the form of the wrapped key's object.
const FORMAT_VERSION: u32 = 1;

/// Opens ledgers and makes keys; remembers what it has seen to be in order.
#[derive(Default)]
pub struct Keys {
    ledgers: LedgerStore,
    in_place: Mutex<HashSet<OrgId>>,
}

impl Keys {
    /// The org's ledger, held by this cluster. One with runs of production is not even claimed for a Region that is none.
    pub async fn ledger(
        &self,
        subject: &Subject,
        store: &Arc<dyn ObjectStore>,
        cluster_uid: &str,
        now: Timestamp,
    ) -> Result<Ledger, Trouble> {
        let prefix = &subject.location.prefix;
        let (key, org) = (subject.ledger_key.clone(), subject.org_id().clone());
        let ledger = self
            .ledgers
            .open(store.clone(), prefix, key, org, cluster_uid)
            .await?;
        let (state, stage) = (ledger.state(), subject.region.spec.stage);
        if let Some(run_id) = state.foreign_to(stage) {
            let message = format!(
                "the bucket holds run {run_id} of org {}, taken in production, and spec.stage of Region {} is \
                 NonProduction: name another bucket or prefix there, or give the org an orgId of its own",
                subject.org_id(),
                subject.placement.region.name
            );
            return Err(Trouble::new(reasons::PRODUCTION_DATA, message));
        }
        ledger.claim(now).await?;
        Ok(ledger)
    }

    /// The org's key, with a wrapped master key in the bucket. The intent is in the ledger before the key is made, so
    /// that a crash leaves none that nobody knows of.
    pub async fn key(
        &self,
        subject: &Subject,
        services: &RegionServices,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<KmsKeyArn, Trouble> {
        let org = subject.org_id();
        let intent = uuid::Uuid::new_v4().to_string();
        let plan = ledger.append_decided(now, |state| {
            state.key_intent.is_none().then(|| Event::KeyPlanned {
                intent: intent.clone(),
            })
        });
        plan.await?;
        let state = ledger.state();
        let key = match (&state.kms_key_arn, &state.key_intent) {
            (Some(key), _) => key.clone(),
            (None, planned) => {
                let made = services
                    .keys
                    .ensure_key(org, planned.as_deref().unwrap_or(&intent))
                    .await;
                let made = made.map_err(|error| {
                    Trouble::remote(
                        reasons::KEY_UNUSABLE,
                        &format!("make the KMS key of org {org}"),
                        &error,
                    )
                })?;
                let created = Event::KeyCreated {
                    kms_key_arn: made.clone(),
                };
                ledger
                    .append_decided(now, |state| state.kms_key_arn.is_none().then(|| created.clone()))
                    .await?;
                ledger.state().kms_key_arn.clone().unwrap_or(made)
            }
        };
        self.wrapped_key(subject, services, &key).await?;
        Ok(key)
    }

    async fn wrapped_key(
        &self,
        subject: &Subject,
        services: &RegionServices,
        key: &KmsKeyArn,
    ) -> Result<(), Trouble> {
        let org = subject.org_id();
        if self
            .in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(org)
        {
            return Ok(());
        }
        let name = bucket_layout::wrapped_key(&subject.location.prefix, org);
        let bucket_trouble = |action: &str, error| {
            Trouble::remote(
                reasons::BUCKET_UNAVAILABLE,
                &format!("{action} {name} in bucket {}", subject.location.bucket),
                &error,
            )
        };
        let present = services
            .store
            .get(&name)
            .await
            .map_err(|error| bucket_trouble("read", error))?;
        if present.is_none() {
            let wrapped = services
                .keys
                .generate_wrapped_key(key, org, MASTER_KEY_PURPOSE)
                .await
                .map_err(|error| {
                    Trouble::remote(
                        reasons::KEY_UNUSABLE,
                        &format!("make the master key of org {org} under {key}"),
                        &error,
                    )
                })?;
            let body = json!({
                "formatVersion": FORMAT_VERSION,
                "kmsKeyArn": key,
                "purpose": MASTER_KEY_PURPOSE,
                "ciphertext": STANDARD.encode(&wrapped),
            });
            // Whoever is first has made the key: a second one would be lost, with what it encrypted.
            let body = Bytes::from(body.to_string());
            services
                .store
                .put_if_absent(&name, body, key)
                .await
                .map_err(|error| bucket_trouble("write", error))?;
        }
        self.in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(org.clone());
        Ok(())
    }
}
