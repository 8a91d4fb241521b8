//! Whether another cluster has taken the orgs of this one over in a place of backups: it says so there, by a marker.
//!
//! A place is asked before the first act there after a start, and every hour from then on. One that cannot be asked decides
//! nothing: what was found before stands, and where nothing was found yet, nothing begins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tray_api::conditions::reasons;
use tray_domain::{
    bucket_layout,
    heartbeat::{ASKED_EVERY, EVERY, Fence, is_due},
    mover_task::BucketLocation,
};
use tray_ledger::RemoteError;
use tray_ports::RegionPorts;

use super::{
    Blocked,
    changes::{Change, Changes},
    conditions::{ConditionFact, Truth},
    context::Context,
};

/// How long a place that could not be asked is not asked again.
const PAUSE: SignedDuration = SignedDuration::from_secs(15);

/// What a place is called, of all Regions whose copies are there.
pub fn place_of(location: &BucketLocation) -> String {
    let endpoint = match location.endpoints.s3.as_str() {
        "" => String::new(),
        endpoint => format!(" at {endpoint}"),
    };
    format!("s3://{}/{}{endpoint}", location.bucket, location.prefix)
}

/// What is known of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is no marker.
    Free,
    /// There is one.
    Fenced(Fence),
    /// It could not be asked since the start.
    Unknown(RemoteError),
}

/// What was found in a place.
#[derive(Default)]
struct Found {
    /// The last answer, and when.
    answered: Option<(Timestamp, Option<Fence>)>,
    /// Why there was none since then.
    failed: Option<(Timestamp, RemoteError)>,
}

impl Found {
    /// None = it was not asked yet.
    fn seen(&self) -> Option<Seen> {
        match (&self.answered, &self.failed) {
            (Some((_, None)), _) => Some(Seen::Free),
            (Some((_, Some(fence))), _) => Some(Seen::Fenced(fence.clone())),
            (None, Some((_, error))) => Some(Seen::Unknown(error.clone())),
            (None, None) => None,
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let stands = |at: Timestamp, every| !is_due(Some(at), every, now);
        let answered = self.answered.as_ref().is_some_and(|(at, fence)| {
            // Whoever puts things in order need not wait for an hour.
            stands(*at, if fence.is_some() { EVERY } else { ASKED_EVERY })
        });
        answered || self.failed.as_ref().is_some_and(|(at, _)| stands(*at, PAUSE))
    }

    fn note(&mut self, answer: Result<Option<Fence>, RemoteError>, now: Timestamp) {
        match answer {
            Ok(fence) => {
                *self = Self {
                    answered: Some((now, fence)),
                    failed: None,
                };
            }
            Err(error) => self.failed = Some((now, error)),
        }
    }
}

#[derive(Default)]
struct Place {
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
    found: Mutex<Found>,
}

impl Place {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of backups, as far as they were asked since the start.
pub struct Fences {
    places: Mutex<HashMap<String, Arc<Place>>>,
    changes: Arc<Changes>,
}

impl Fences {
    /// None asked yet. What changes is published as [`Change::Fence`].
    pub fn new(changes: Arc<Changes>) -> Self {
        Self {
            places: Mutex::default(),
            changes,
        }
    }

    fn place(&self, location: &BucketLocation) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place_of(location)).or_default().clone()
    }

    /// What is known, without a request; none = it was not asked yet.
    pub fn known(&self, location: &BucketLocation) -> Option<Seen> {
        self.place(location).found().seen()
    }

    /// What is known: asked now, if what was found before does not hold any more.
    pub async fn look(
        &self,
        regions: &dyn RegionPorts,
        location: &BucketLocation,
        cluster_uid: &str,
        now: Timestamp,
    ) -> Seen {
        let place = self.place(location);
        let _one_at_a_time = place.asking.lock().await;
        let before = place.found().seen();
        if let Some(known) = before.as_ref().filter(|_| place.found().is_fresh(now)) {
            return known.clone();
        }
        let answer = ask(regions, location, cluster_uid).await;
        let failed = answer.as_ref().err().cloned();
        place.found().note(answer, now);
        let seen = place.found().seen();
        if seen != before {
            self.changes.publish(&Change::Fence(place_of(location)));
        }
        // It was just noted.
        seen.unwrap_or_else(|| {
            Seen::Unknown(failed.unwrap_or_else(|| RemoteError::Unavailable(String::new())))
        })
    }
}

async fn ask(
    regions: &dyn RegionPorts,
    location: &BucketLocation,
    cluster_uid: &str,
) -> Result<Option<Fence>, RemoteError> {
    let store = regions.services(location)?.store;
    let key = bucket_layout::fenced(&location.prefix, cluster_uid);
    let marker = store.get(&key).await?;
    Ok(marker.map(|marker| Fence::read(&marker)))
}

/// Why nothing begins in a place, as far as that is known without a request; none = nothing is known that keeps it.
pub fn standing(ctx: &Context, location: &BucketLocation) -> Option<Blocked> {
    match ctx.fences.known(location)? {
        Seen::Fenced(fence) => Some(fenced(&fence, location, &ctx.cluster_uid)),
        Seen::Free | Seen::Unknown(_) => None,
    }
}

/// Whether anything may begin in a place.
pub async fn check(ctx: &Context, location: &BucketLocation, now: Timestamp) -> Result<(), Blocked> {
    let look = ctx
        .fences
        .look(&*ctx.regions, location, &ctx.cluster_uid, now)
        .await;
    match look {
        Seen::Free => Ok(()),
        Seen::Fenced(fence) => Err(fenced(&fence, location, &ctx.cluster_uid)),
        Seen::Unknown(error) => {
            let reason = reason_of(&error);
            Err(Blocked::remote(
                reason,
                &action(location, &ctx.cluster_uid),
                &error,
            ))
        }
    }
}

/// Condition Fenced of a Region whose copies are in a place; none = the cluster is not fenced there. `recorded` is what the Region's
/// status says for its present spec.
pub fn condition(
    seen: Option<&Seen>,
    recorded: Option<ConditionFact>,
    location: &BucketLocation,
    cluster_uid: &str,
) -> Option<ConditionFact> {
    match seen {
        Some(Seen::Free) => None,
        Some(Seen::Fenced(fence)) => {
            let message = message(fence, location, cluster_uid);
            Some(ConditionFact::new(true, reasons::FENCED, message))
        }
        // What was found before the start stands.
        Some(Seen::Unknown(_)) | None if recorded.as_ref().is_some_and(|fact| fact.status == Truth::True) => {
            recorded
        }
        Some(Seen::Unknown(error)) => {
            let action = action(location, cluster_uid);
            let message = format!(
                "whether another cluster has taken this one's orgs over is not known, and nothing begins before it is: failed to \
                 {action}: {error}; tried again"
            );
            Some(ConditionFact::new(Truth::Unknown, reason_of(error), message))
        }
        None => recorded,
    }
}

fn reason_of(error: &RemoteError) -> &'static str {
    match error {
        RemoteError::Unavailable(_) => reasons::RETRYING,
        RemoteError::Denied(_) => reasons::BUCKET_ACCESS_DENIED,
        RemoteError::NotFound(_) | RemoteError::Unusable(_) | RemoteError::Corrupt(_) => {
            reasons::BUCKET_UNAVAILABLE
        }
    }
}

fn action(location: &BucketLocation, cluster_uid: &str) -> String {
    let key = bucket_layout::fenced(&location.prefix, cluster_uid);
    format!("ask for the marker {key} in bucket {}", location.bucket)
}

fn fenced(fence: &Fence, location: &BucketLocation, cluster_uid: &str) -> Blocked {
    Blocked::person(reasons::FENCED, message(fence, location, cluster_uid))
}

fn message(fence: &Fence, location: &BucketLocation, cluster_uid: &str) -> String {
    let key = bucket_layout::fenced(&location.prefix, cluster_uid);
    format!(
        "this cluster is fenced in {}: {fence}; no run, restore or pruning begins there, and no key is made. If that was meant, \
         remove this cluster's orgs; if not, have the other cluster give them up, and then remove {key} from bucket {}, which is \
         asked for again within five minutes",
        place_of(location),
        location.bucket
    )
}

#[cfg(test)]
mod tests {
    use tray_domain::mover_task::Endpoints;
    use tray_ports::RegionServices;
    use tray_testkit::memory::{Fault, MemoryKeys, MemorySessions, MemoryStore, Operation};

    use super::*;

    const CLUSTER: &str = "0d1f6b1e";
    const MARKER: &str = r#"{"formatVersion": 1, "clusterUid": "other", "at": "2026-01-01T00:00:00Z"}"#;

    struct Memory(Arc<MemoryStore>);

    impl RegionPorts for Memory {
        fn services(&self, _: &BucketLocation) -> Result<RegionServices, RemoteError> {
            Ok(RegionServices {
                store: self.0.clone(),
                keys: Arc::new(MemoryKeys::default()),
                sessions: Arc::new(MemorySessions::default()),
            })
        }
    }

    fn location() -> BucketLocation {
        BucketLocation {
            bucket: "tray-backups-eu".to_owned(),
            bucket_owner: "111122223333".to_owned(),
            cloud_region: "eu-central-1".to_owned(),
            prefix: "p/".to_owned(),
            endpoints: Endpoints::default(),
        }
    }
    fn marker() -> String {
        format!("p/v1/clusters/{CLUSTER}/fenced.json")
    }
    fn after(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }
    fn silent() -> RemoteError {
        RemoteError::Unavailable("no answer from s3".to_owned())
    }

    /// A place, and what is seen of it after so many minutes.
    struct World {
        store: Arc<MemoryStore>,
        fences: Fences,
    }

    impl World {
        fn new() -> Self {
            Self {
                store: Arc::default(),
                fences: Fences::new(Arc::new(Changes::new(Arc::default()))),
            }
        }
        async fn look(&self, minutes: i64) -> Seen {
            let regions = Memory(self.store.clone());
            let location = location();
            self.fences
                .look(&regions, &location, CLUSTER, after(minutes))
                .await
        }
        fn asked(&self) -> usize {
            self.store.calls().len()
        }
    }

    #[tokio::test]
    async fn a_place_is_asked_once_an_hour_and_more_often_while_it_is_fenced() {
        let world = World::new();
        assert_eq!(world.fences.known(&location()), None);
        assert_eq!(world.look(0).await, Seen::Free);
        assert_eq!(world.store.calls(), [(Operation::Get, marker())]);
        world.store.overwrite(&marker(), MARKER);
        assert_eq!(world.look(59).await, Seen::Free);
        let Seen::Fenced(Fence::By { cluster_uid, .. }) = world.look(60).await else {
            panic!("the marker is not seen")
        };
        assert_eq!((cluster_uid.as_str(), world.asked()), ("other", 2));
        world.store.remove(&marker());
        assert!(matches!(world.look(64).await, Seen::Fenced(_)));
        assert_eq!(world.look(65).await, Seen::Free);
        assert_eq!(
            (world.fences.known(&location()), world.asked()),
            (Some(Seen::Free), 3)
        );
    }

    #[tokio::test]
    async fn a_store_that_is_silent_fences_nobody_and_what_was_found_stands() {
        let world = World::new();
        let fails = || world.store.fail_next(Operation::Get, Fault::Refused(silent()));
        fails();
        assert_eq!(world.look(0).await, Seen::Unknown(silent()));
        assert_eq!(
            world.look(0).await,
            Seen::Unknown(silent()),
            "it is not asked at once"
        );
        assert_eq!(world.asked(), 1);
        assert_eq!(world.look(1).await, Seen::Free);
        fails();
        assert_eq!(world.look(61).await, Seen::Free);
        world.store.overwrite(&marker(), "not a marker");
        assert!(matches!(world.look(62).await, Seen::Fenced(Fence::Unreadable(_))));
        fails();
        assert!(matches!(world.look(67).await, Seen::Fenced(_)));
    }

    #[test]
    fn places_are_told_apart_by_bucket_prefix_and_endpoint() {
        let mut elsewhere = location();
        assert_eq!(place_of(&elsewhere), "s3://tray-backups-eu/p/");
        elsewhere.endpoints.kms = "https://kms.example".to_owned();
        assert_eq!(place_of(&elsewhere), place_of(&location()));
        elsewhere.endpoints.s3 = "https://s3.example".to_owned();
        assert_eq!(
            place_of(&elsewhere),
            "s3://tray-backups-eu/p/ at https://s3.example"
        );
    }

    #[test]
    fn the_condition_is_there_while_the_cluster_is_fenced_or_that_is_not_known() {
        let said = |seen: Option<Seen>, recorded: Option<ConditionFact>| {
            condition(seen.as_ref(), recorded, &location(), CLUSTER)
        };
        let fence = Fence::read(MARKER.as_bytes());
        let fenced = said(Some(Seen::Fenced(fence)), None).unwrap();
        assert_eq!((fenced.status, fenced.reason.as_str()), (Truth::True, "Fenced"));
        for part in [
            "cluster other",
            "2026-01-01T00:00:00Z",
            &marker(),
            "tray-backups-eu",
        ] {
            assert!(fenced.message.contains(part), "{part}: {}", fenced.message);
        }
        let unknown = said(Some(Seen::Unknown(silent())), None).unwrap();
        assert_eq!(
            (unknown.status, unknown.reason.as_str()),
            (Truth::Unknown, "Retrying")
        );
        assert!(
            unknown.message.contains("no answer from s3"),
            "{}",
            unknown.message
        );
        assert_eq!(said(Some(Seen::Free), Some(fenced.clone())), None);
        // What was found before the start stands until it is asked again.
        for seen in [None, Some(Seen::Unknown(silent()))] {
            assert_eq!(said(seen, Some(fenced.clone())), Some(fenced.clone()));
        }
        assert_eq!(said(None, None), None);
    }
}
