//! An org's ledger and key: claimed and made before anything is copied.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tray_api::conditions::reasons;
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId},
    ledger::{self, Event, LedgerState},
    names,
    session_policy::MASTER_KEY_PURPOSE,
};
use tray_ledger::{Ledger, LedgerStore, PutOutcome, RemoteError};
use tray_ports::{RegionBucket, RegionServices};

use crate::controllers::{
    Blocked,
    view::{acknowledgements::offered, rest::head, subject::Subject},
};

/// Version of the form of the wrapped key's object.
const FORMAT_VERSION: u32 = 1;

/// How long the wrapped key is not looked at again: the passes of one run ask once.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// Opens ledgers and makes keys; remembers what it has seen to be in order.
#[derive(Default)]
pub(super) struct Keys {
    ledgers: LedgerStore,
    /// When the wrapped key of each org was last found to be the one that its ledger names, by the address of the bucket:
    /// another bucket may be asked for the same org.
    seen: Mutex<HashMap<(usize, OrgId), Timestamp>>,
}

impl Keys {
    /// Whether something is under way of which the ledger is kept in memory.
    pub(super) fn is_open(&self, org: &OrgId) -> bool {
        self.ledgers.is_open(org)
    }

    /// How many are.
    pub(super) fn count(&self) -> usize {
        self.ledgers.count()
    }

    /// Nothing is under way: the ledger need not be kept in memory.
    pub(super) fn close(&self, ledger: &Ledger) {
        self.ledgers.close(ledger);
    }

    /// The org's ledger, held by this cluster. One with runs of production is not even claimed for a Region that is none.
    pub(super) async fn ledger(
        &self,
        subject: &Subject<'_>,
        store: &Arc<dyn RegionBucket>,
        cluster_uid: &str,
        now: Timestamp,
    ) -> Result<Ledger, Blocked> {
        let prefix = &subject.location.prefix;
        let (key, org) = (subject.ledger_key.clone(), subject.org_id().clone());
        let ledger = self
            .ledgers
            .open_behind(
                (store.clone(), prefix),
                key,
                org,
                cluster_uid,
                head(subject).as_ref(),
            )
            .await?;
        if ledger.state().claim.is_none() && subject.has_copies() {
            // Somebody may have brought it back since it was read.
            ledger.refresh().await?;
        }
        let (state, stage) = (ledger.state(), subject.region.spec.stage);
        if let Some(run_id) = state.foreign_to(stage) {
            let message = format!(
                "the bucket holds run {run_id} of org {}, taken in production, and spec.stage of Region {} is \
                 NonProduction: name another bucket or prefix there, or give the org an orgId of its own",
                subject.org_id(),
                subject.placement.region.name
            );
            return Err(Blocked::person(reasons::PRODUCTION_DATA, message));
        }
        if state.claim.is_none() && subject.has_copies() {
            return Err(missing(subject));
        }
        ledger.claim(now).await?;
        Ok(ledger)
    }

    /// The org's key, with a wrapped master key in the bucket. What the ledger says it began with stays its key, and a wrapped key
    /// that is missing or another one is never replaced.
    pub(super) async fn key(
        &self,
        subject: &Subject<'_>,
        services: &RegionServices,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<KmsKeyArn, Blocked> {
        let known = ledger.state().kms_key_arn.clone();
        let key = match known {
            Some(key) => key,
            None => pin(ledger, first_key(subject, services, ledger, now).await?, now).await?,
        };
        self.wrapped_key(subject, services, ledger, &key, now).await?;
        Ok(key)
    }

    /// Makes the wrapped master key once; from then on it is looked at again and again, and never replaced.
    async fn wrapped_key(
        &self,
        subject: &Subject<'_>,
        services: &RegionServices,
        ledger: &Ledger,
        key: &KmsKeyArn,
        now: Timestamp,
    ) -> Result<(), Blocked> {
        let bucket = Arc::as_ptr(&services.store).cast::<()>() as usize;
        let place = (bucket, subject.org_id().clone());
        if self.is_fresh(&place, now) {
            return Ok(());
        }
        let object = WrappedKey { subject, services };
        let state = ledger.state();
        let found = match object.read().await? {
            Some(found) => found,
            None if state.wrapped_key_digest.is_some() || state.has_run() => {
                return Err(object.missing(&state));
            }
            None => object.make(key).await?,
        };
        let digest = ledger::digest(&found);
        // The first look: what is there now is the org's from here on, unless another one was faster.
        let wrapped = Event::KeyWrapped {
            digest: digest.clone(),
        };
        let decided = ledger.append_decided(now, |state| {
            state.wrapped_key_digest.is_none().then(|| wrapped.clone())
        });
        decided.await?;
        let state = ledger.state();
        let recorded = state.wrapped_key_digest.as_ref();
        if let Some(recorded) = recorded.filter(|recorded| **recorded != digest) {
            return Err(object.replaced(recorded, &digest));
        }
        self.seen().insert(place, now);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<(usize, OrgId), Timestamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, place: &(usize, OrgId), now: Timestamp) -> bool {
        let seen = self.seen().get(place).copied();
        seen.is_some_and(|seen| now.duration_since(seen) < LOOK_AGAIN)
    }
}

/// The object that holds the wrapped master key of an org.
struct WrappedKey<'a> {
    subject: &'a Subject<'a>,
    services: &'a RegionServices,
}

impl WrappedKey<'_> {
    fn name(&self) -> String {
        bucket_layout::wrapped_key(&self.subject.location.prefix, self.subject.org_id())
    }

    async fn read(&self) -> Result<Option<Bytes>, Blocked> {
        let found = self.services.store.get(&self.name()).await;
        found.map_err(|error| self.bucket_failed("read", &error))
    }

    /// Makes one, unless somebody is faster: whoever is first has made the key. A second one would be lost, with what it
    /// encrypted.
    async fn make(&self, key: &KmsKeyArn) -> Result<Bytes, Blocked> {
        let org = self.subject.org_id();
        let wrapped = self
            .services
            .keys
            .generate_wrapped_key(key, org, MASTER_KEY_PURPOSE);
        let wrapped = wrapped.await.map_err(|error| {
            let action = format!("make the master key of org {org} under {key}");
            Blocked::remote(reasons::KEY_UNUSABLE, &action, &error)
        })?;
        let body = json!({
            "formatVersion": FORMAT_VERSION,
            "kmsKeyArn": key,
            "purpose": MASTER_KEY_PURPOSE,
            "ciphertext": STANDARD.encode(&wrapped),
        });
        let body = Bytes::from(body.to_string());
        let put = self
            .services
            .store
            .put_if_absent(&self.name(), body.clone(), key)
            .await;
        match put.map_err(|error| self.bucket_failed("write", &error))? {
            PutOutcome::Created => Ok(body),
            PutOutcome::Exists => self.read().await?.ok_or_else(|| {
                let gone = RemoteError::Unavailable("it was there just now".to_owned());
                self.bucket_failed("read", &gone)
            }),
        }
    }

    /// The KMS key that a wrapped key names.
    fn key_of(&self, found: &[u8]) -> Result<KmsKeyArn, Blocked> {
        let named: Option<KmsKeyArn> = serde_json::from_slice(found)
            .ok()
            .and_then(|body: serde_json::Value| body["kmsKeyArn"].as_str()?.parse().ok());
        named.ok_or_else(|| {
            let (name, bucket) = (self.name(), &self.subject.location.bucket);
            let message = format!(
                "the wrapped master key {name} in bucket {bucket} names no KMS key, so nothing opens with it: put its version that \
                 does back"
            );
            Blocked::person(reasons::KEY_MISSING, message)
        })
    }

    fn bucket_failed(&self, action: &str, error: &RemoteError) -> Blocked {
        let bucket = &self.subject.location.bucket;
        let action = format!("{action} {} in bucket {bucket}", self.name());
        let reason = match error {
            // It lies under the org's own key.
            RemoteError::Unusable(_) => reasons::KEY_UNUSABLE,
            _ => reasons::BUCKET_UNAVAILABLE,
        };
        Blocked::remote(reason, &action, error)
    }

    fn missing(&self, state: &LedgerState) -> Blocked {
        let (name, bucket) = (self.name(), &self.subject.location.bucket);
        let which = state.wrapped_key_digest.as_ref().map_or_else(
            || "its newest version".to_owned(),
            |digest| format!("the version whose content has the SHA-256 {digest}"),
        );
        let message = format!(
            "the wrapped master key {name} is missing in bucket {bucket}, and the ledger has runs that nothing else opens: put \
             {which} back (the bucket keeps versions: remove the delete marker); until then no run is made and nothing is pruned"
        );
        Blocked::person(reasons::KEY_MISSING, message)
    }

    fn replaced(&self, recorded: &str, found: &str) -> Blocked {
        let (name, bucket) = (self.name(), &self.subject.location.bucket);
        let message = format!(
            "the wrapped master key {name} in bucket {bucket} is another one than the ledger names: its SHA-256 is {found}, \
             recorded is {recorded}; put the version with the recorded one back, since nothing else opens the org's copies; until \
             then no run is made and nothing is pruned"
        );
        Blocked::person(reasons::KEY_MISSING, message)
    }
}

/// A ledger begun anew would know nothing of the copies, of what was lost, or of the runs that have ended.
fn missing(subject: &Subject<'_>) -> Blocked {
    let (location, org) = (&subject.location, subject.org_id());
    let folder = bucket_layout::ledger_prefix(&location.prefix, org);
    let endpoint = match location.endpoints.s3.as_str() {
        "" => String::new(),
        endpoint => format!(" at {endpoint}"),
    };
    let message = format!(
        "the org has snapshots, or was deleted and is back, and its ledger is not in bucket {}{endpoint}: there is nothing under {folder}. If \
         spec.backup.endpoints of Region {} were changed, put them back; if objects were deleted, bring their former \
         versions back; if it has none, or all are lost for good, annotate the TrayOrg with {}={}. Until then no snapshot is \
         taken, removed or restored",
        location.bucket,
        subject.placement.region.name,
        names::ANNOTATION_ACCEPT_LEDGER_LOSS,
        offered(
            subject.view,
            names::ANNOTATION_ACCEPT_LEDGER_LOSS,
            &location.bucket
        ),
    );
    Blocked::person(reasons::LEDGER_MISSING, message)
}

/// The key of an org whose ledger names none. Where its wrapped key lies in the bucket, its ledger was given up and begun anew:
/// the key that opens what is there stays its key. One of its own that was begun is finished, whatever the Region says by now.
async fn first_key(
    subject: &Subject<'_>,
    services: &RegionServices,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<KmsKeyArn, Blocked> {
    let object = WrappedKey { subject, services };
    if let Some(found) = object.read().await? {
        return object.key_of(&found);
    }
    let begun = ledger.state().key_intent.is_some();
    match subject.shared_key.as_ref().filter(|_| !begun) {
        Some(shared) => Ok(shared.clone()),
        None => make_key(subject.org_id(), services, ledger, now).await,
    }
}

/// A key of the org's own. The intent is in the ledger before it is made, so that a crash leaves none that nobody knows of; an
/// org without one was given a key that others have, too.
async fn make_key(
    org: &OrgId,
    services: &RegionServices,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<KmsKeyArn, Blocked> {
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
        Blocked::remote(reasons::KEY_UNUSABLE, &action, &error)
    })
}

/// Writes down which key the org has, unless that is known. Returns what is known.
async fn pin(ledger: &Ledger, key: KmsKeyArn, now: Timestamp) -> Result<KmsKeyArn, Blocked> {
    let created = Event::KeyCreated {
        kms_key_arn: key.clone(),
    };
    ledger
        .append_decided(now, |state| state.kms_key_arn.is_none().then(|| created.clone()))
        .await?;
    Ok(ledger.state().kms_key_arn.clone().unwrap_or(key))
}
