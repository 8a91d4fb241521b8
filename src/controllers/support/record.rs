//! Lines of an org's access record, in the Region's log bucket. They are written on the side: nothing that is closed
//! waits for a bucket, and what could not be written is tried again until it is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use kube::{Resource, ResourceExt};
use tracing::warn;
use tray_api::{
    conditions::types,
    support_access::{SupportAccess, SupportEvent},
};
use tray_domain::{access_record::Line, mover_task::BucketLocation};

use crate::{
    adapters::kube::index::{Index, key_of},
    controllers::{
        changes::Change,
        conditions::is_true,
        context::Context,
        view::{
            region::log_location,
            support::{Home, grant},
        },
    },
};

/// How long one attempt to write a line may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// First and longest pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where the record of an org's support access is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The Region names no log bucket: there is none.
    Nowhere,
    /// The Region is not here, or its log bucket is not known to be what its spec says: nothing is sent there.
    NotVerified(String),
    /// In this bucket.
    Bucket(BucketLocation),
}

/// Where the record of an org is kept: in the Region that it was placed in, as long as that is the same place.
pub(super) fn place(index: &Index, home: &Home) -> Place {
    let (name, cloud_region) = &home.region;
    let region = index
        .regions
        .get(name)
        .filter(|r| r.spec.cloud_region == *cloud_region);
    let Some(region) = region else {
        return Place::NotVerified(name.clone());
    };
    let Some(location) = log_location(&region.spec) else {
        return Place::Nowhere;
    };
    let verified = region.status.as_ref().is_some_and(|status| {
        status.observed_generation == region.metadata.generation
            && is_true(&status.conditions, types::LOG_LOCATION_VERIFIED)
    });
    if verified {
        Place::Bucket(location)
    } else {
        Place::NotVerified(name.clone())
    }
}

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    UnderWay,
    Written,
}

/// Writes lines. What it remembers may be lost: a line is the same object whoever writes it.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    /// By bucket (empty where there was none that could be written to) and name of the object.
    lines: Arc<Mutex<BTreeMap<(String, String), Progress>>>,
}

impl Recorder {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<(String, String), Progress>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what became of a grant is written at that place; if not, sees to it, and tells by a change when it is.
    pub(super) fn is_written(
        &self,
        ctx: &Arc<Context>,
        place: &Place,
        access: &SupportAccess,
        home: &Home,
        event: &SupportEvent,
    ) -> bool {
        let line = line(access, home, event);
        let id = id(place, &line);
        let before = self.lines().get(&id).copied();
        if before.is_none() {
            self.lines().insert(id.clone(), Progress::UnderWay);
            let (recorder, ctx, home) = (self.clone(), ctx.clone(), home.clone());
            let key = key_of(access.meta());
            tokio::spawn(async move {
                let written = keep_trying(&ctx, &home, &line).await;
                if written && ctx.index.support.get(&key).is_some() {
                    recorder.lines().insert(id, Progress::Written);
                    ctx.changes.publish(&Change::Support(key));
                } else {
                    recorder.lines().remove(&id);
                }
            });
        }
        before == Some(Progress::Written)
    }

    /// What became of a grant is noted elsewhere: it need not be remembered.
    pub(super) fn forget(&self, place: &Place, access: &SupportAccess, home: &Home, event: &SupportEvent) {
        self.lines().remove(&id(place, &line(access, home, event)));
    }
}

fn id(place: &Place, line: &Line) -> (String, String) {
    match place {
        Place::Bucket(location) => (location.bucket.clone(), line.key(&location.prefix)),
        Place::Nowhere | Place::NotVerified(_) => (String::new(), line.key("")),
    }
}

/// Writes a line at the place that is right by then, however often it takes, even when its object is gone: nobody else
/// would. Returns whether it is: not where the Region names no log bucket any more.
async fn keep_trying(ctx: &Context, home: &Home, line: &Line) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        let written = match place(&ctx.index, home) {
            Place::Nowhere => return false,
            Place::NotVerified(region) => Err(format!("the log bucket of Region {region} is not verified")),
            Place::Bucket(location) => tokio::time::timeout(TIMEOUT, write(ctx, &location, line))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs()))),
        };
        let Err(error) = written else {
            return true;
        };
        let (org, access) = (&line.org, &line.support_access);
        warn!(
            error,
            org, access, "a line of the access record was not written; tried again"
        );
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn write(ctx: &Context, location: &BucketLocation, line: &Line) -> Result<(), String> {
    let key = line.key(&location.prefix);
    let services = ctx
        .regions
        .services(location)
        .map_err(|error| error.to_string())?;
    let body = line.body().map_err(|error| error.to_string())?;
    let put = services.store.put_new(&key, Bytes::from(body)).await;
    // Written by an earlier attempt whose answer was lost: the same line.
    put.map(drop).map_err(|error| error.to_string())
}

fn line(access: &SupportAccess, home: &Home, event: &SupportEvent) -> Line {
    let groups = access.spec.groups();
    let until = grant(access, &groups, event.at.0).until();
    Line {
        time: event.at.0,
        action: event.action,
        org: home.org.clone(),
        org_id: home.org_id.clone(),
        namespace: access.namespace().unwrap_or_default(),
        support_access: access.name_any(),
        uid: access.uid().unwrap_or_default(),
        role: access.spec.role,
        groups,
        reason: access.spec.reason.clone(),
        until,
    }
}
