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
        names,
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
    /// Address of a bucket, and the org whose wrapped key was seen in it: another bucket may be asked for the same org.
    in_place: Mutex<HashSet<(usize, OrgId)>>,
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
        if state.claim.is_none() && subject.has_copies() {
            return Err(missing(subject));
        }
        ledger.claim(now).await?;
        Ok(ledger)
    }

    /// The org's key, with a wrapped master key in the bucket. What the ledger says it began with stays its key.
    pub async fn key(
        &self,
        subject: &Subject,
        services: &RegionServices,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<KmsKeyArn, Trouble> {
        let state = ledger.state();
        // One of its own that was begun is finished, whatever the Region says by now.
        let shared = subject.shared_key.as_ref().filter(|_| state.key_intent.is_none());
        let key = match (&state.kms_key_arn, shared) {
            (Some(key), _) => key.clone(),
            (None, Some(shared)) => pin(ledger, shared.clone(), now).await?,
            (None, None) => {
                let made = make_key(subject.org_id(), services, ledger, now).await?;
                pin(ledger, made, now).await?
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
        let place = (Arc::as_ptr(&services.store).cast::<()>() as usize, org.clone());
        if self
            .in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&place)
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
            .insert(place);
        Ok(())
    }
}

/// A ledger begun anew would know nothing of the copies, of what was lost, or of the runs that have ended.
fn missing(subject: &Subject) -> Trouble {
    let (location, org) = (&subject.location, subject.org_id());
    let folder = bucket_layout::ledger_prefix(&location.prefix, org);
    let endpoint = match location.endpoints.s3.as_str() {
        "" => String::new(),
        endpoint => format!(" at {endpoint}"),
    };
    let message = format!(
        "the org has snapshots, and its ledger is not in bucket {}{endpoint}: there is nothing under {folder}. If \
         spec.backup.endpoints of Region {} were changed, put them back; if objects were deleted, bring their former \
         versions back; if all its snapshots are lost for good, annotate the TrayOrg with {}={}. Until then no snapshot is \
         taken, removed or restored",
        location.bucket,
        subject.placement.region.name,
        names::ANNOTATION_ACCEPT_LEDGER_LOSS,
        location.bucket,
    );
    Trouble::new(reasons::LEDGER_MISSING, message)
}

/// A key of the org's own. The intent is in the ledger before it is made, so that a crash leaves none that nobody knows of; an
/// org without one was given a key that others have, too.
async fn make_key(
    org: &OrgId,
    services: &RegionServices,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<KmsKeyArn, Trouble> {
    let intent = uuid::Uuid::new_v4().to_string();
    let plan = ledger.append_decided(now, |state| {
        state.key_intent.is_none().then(|| Event::KeyPlanned {
            intent: intent.clone(),
        })
    });
    plan.await?;
    let planned = ledger.state().key_intent.clone().unwrap_or(intent);
    let made = services.keys.ensure_key(org, &planned).await;
    made.map_err(|error| {
        let action = format!("make the KMS key of org {org}");
        Trouble::remote(reasons::KEY_UNUSABLE, &action, &error)
    })
}

/// Writes down which key the org has, unless that is known. Returns what is known.
async fn pin(ledger: &Ledger, key: KmsKeyArn, now: Timestamp) -> Result<KmsKeyArn, Trouble> {
    let created = Event::KeyCreated {
        kms_key_arn: key.clone(),
    };
    ledger
        .append_decided(now, |state| state.kms_key_arn.is_none().then(|| created.clone()))
        .await?;
    Ok(ledger.state().kms_key_arn.clone().unwrap_or(key))
}
