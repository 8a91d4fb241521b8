//! Says every five minutes in each place of backups that this cluster is there: its last word is when it was lost. While another
//! cluster has taken its orgs over there it says nothing more, and looks every hour whether one has.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{conditions::reasons, region::Region};
use tray_domain::{
    bucket_layout,
    heartbeat::{EVERY, Heartbeat, is_due},
    ids::KmsKeyArn,
    mover_task::BucketLocation,
};

use super::{
    Blocked, Driver, Requeue,
    changes::Change,
    context::Context,
    fences::{self, place_of},
    until,
    view::{backup_place::said, region::bucket_location},
};
use crate::{adapters::kube::index::Index, telemetry::metrics::InRegion};

/// The heartbeat. Keys are [places](place_of).
#[derive(Default)]
pub struct HeartbeatDriver {
    /// When it was last written, by place.
    written: Mutex<HashMap<String, Timestamp>>,
}

#[async_trait::async_trait]
impl Driver for HeartbeatDriver {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Region(name) => {
                let region = index.regions.get(name);
                region.iter().map(|region| place(region)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        let regions = index.regions.all();
        let places: BTreeSet<String> = regions.iter().map(|region| place(region)).collect();
        places.into_iter().collect()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let regions = served(&ctx.index, key);
        let Some(first) = regions.first() else {
            self.written().remove(key);
            return Ok(Requeue::OnChange);
        };
        let (location, now) = (bucket_location(&first.spec.backup), ctx.now());
        if let Err(blocked) = fences::check(ctx, &location, now).await {
            if blocked.reason == reasons::FENCED {
                // When it was lost stays as it was.
                return Ok(Requeue::After(EVERY.unsigned_abs()));
            }
            return Err(blocked.unwatched());
        }
        let last = self.written().get(key).copied();
        let at = if let Some(last) = last.filter(|last| !is_due(Some(*last), EVERY, now)) {
            last
        } else {
            write(ctx, first, &location, now)
                .await
                .map_err(Blocked::unwatched)?;
            self.written().insert(key.to_owned(), now);
            now
        };
        for region in &regions {
            let labels = InRegion {
                region: region.name_any(),
            };
            ctx.metrics.heartbeat.get_or_create(&labels).set(at.as_second());
        }
        let next = at.checked_add(EVERY).unwrap_or(Timestamp::MAX);
        Ok(Requeue::After(until(next, now)))
    }
}

impl HeartbeatDriver {
    fn written(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(region: &Region) -> String {
    place_of(&bucket_location(&region.spec.backup))
}

/// The Regions whose copies are in that place, and of which S3 has confirmed that it is what they say.
fn served(index: &Index, key: &str) -> Vec<Arc<Region>> {
    let mut regions = index.regions.all();
    regions.retain(|region| place(region) == key && said(region).confirmed);
    regions.sort_by_key(|region| region.name_any());
    regions
}

/// Writes it under the ledger key of one of the place's Regions.
async fn write(
    ctx: &Context,
    region: &Region,
    location: &BucketLocation,
    now: Timestamp,
) -> Result<(), Blocked> {
    let arn = &region.spec.backup.kms.ledger_key_arn;
    let ledger_key: KmsKeyArn = arn.parse().map_err(|error| {
        let name = region.name_any();
        let message = format!("spec.backup.kms.ledgerKeyArn of Region {name}: {error}");
        Blocked::person(reasons::LEDGER_KEY_UNUSABLE, message)
    })?;
    let holder = ctx.writer.leadership.holder();
    let beat = Heartbeat::new(&ctx.cluster_uid, holder, env!("CARGO_PKG_VERSION"), now);
    let key = bucket_layout::heartbeat(&location.prefix, &ctx.cluster_uid);
    let action = format!("write the heartbeat {key} in bucket {}", location.bucket);
    let failed = |error| Blocked::remote(reasons::BUCKET_UNAVAILABLE, &action, &error);
    let body = serde_json::to_vec(&beat).map_err(|error| {
        let message = format!("failed to {action}: {error}");
        Blocked::service(reasons::RETRYING, message)
    })?;
    let store = ctx.regions.services(location).map_err(failed)?.store;
    store
        .replace(&key, Bytes::from(body), &ledger_key)
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn region(name: &str, prefix: &str, verified: bool) -> Region {
        let status = if verified { "True" } else { "False" };
        serde_json::from_value(json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "Region",
            "metadata": {"name": name, "uid": name, "generation": 1, "resourceVersion": "1"},
            "spec": {
                "jurisdiction": "EU", "cloudRegion": "eu-west-1", "zones": ["eu-west-1a"],
                "storage": {"storageClassName": "org-encrypted"},
                "backup": {"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
                    "prefix": prefix, "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ledger"}},
            },
            "status": {"conditions": [{"type": "BackupLocationVerified", "status": status, "reason": "x", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap()
    }

    #[test]
    fn regions_that_share_a_place_have_one_heartbeat() {
        let (driver, index) = (HeartbeatDriver::default(), Index::default());
        for (name, prefix, verified) in [
            ("eu", "", true),
            ("eu-too", "", true),
            ("eu-new", "", false),
            ("eu-apart", "apart/", true),
        ] {
            index.regions.put(region(name, prefix, verified));
        }
        let (shared, apart) = ("s3://tray-backups-eu/", "s3://tray-backups-eu/apart/");
        assert_eq!(driver.keys(&index), [shared, apart]);
        let names = |key: &str| -> Vec<String> {
            let regions = served(&index, key);
            regions.iter().map(|region| region.name_any()).collect()
        };
        // What S3 has not confirmed is nobody's place yet.
        assert_eq!(names(shared), ["eu", "eu-too"]);
        assert_eq!(names(apart), ["eu-apart"]);
        let change = |name: &str| driver.map_to_keys(&Change::Region(name.to_owned()), &index);
        assert_eq!(change("eu-new"), [shared]);
        assert_eq!(change("gone"), Vec::<String>::new());
    }
}
