//! The SupportAccess controller: lets support into an org's namespace while a grant is open, and closes behind it.
//!
//! A grant is a RoleBinding, of another name and role while the org hides its logs. Its end comes by its time, by its
//! deletion, or with the org's; what closes comes first in a pass and waits for nothing. After a start, bindings without an
//! open grant go before any controller begins. Expiry needs a living operator: while none runs nothing is closed. The
//! namespace's annotation, by which the exec gate goes, is the TrayOrg controller's; a grant to debug is Active once it is
//! there.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use tracing::{error, info};
use tray_api::{
    conditions::reasons,
    support_access::{SupportAccess, SupportEvent},
    trayorg::LogMode,
};
use tray_domain::{
    names,
    support::{Action, Role, Standing},
};

use self::{
    record::{Place, Recorder, place},
    status::{Effect, Pass},
};
use super::{Blocked, Driver, Requeue, changes::Change, context::Context};
use crate::{
    adapters::kube::{
        apply::{Applied, ApplyError},
        events::Severity,
        index::{Index, key_of},
    },
    controllers::view::{
        self,
        support::{Home, grant, home, key_of_binding, keys_of_namespace, standing},
    },
    resources::{
        child::{ChildId, ChildKind},
        support::{self, binding_id, binding_ids},
    },
};

mod record;
mod status;

/// Bindings that are removed at once after a start.
const AT_ONCE: usize = 8;
/// How long what is deleted waits for its last line in the access record, which is written without it, too, as long as
/// this process lives.
const LAST_LINE: SignedDuration = SignedDuration::from_secs(90);
/// When a grant is looked at again that has lines which are not written yet.
const AGAIN: Duration = Duration::from_secs(30);

/// Reconciles SupportAccesses; keys are `namespace/name`.
#[derive(Default)]
pub struct SupportDriver {
    recorder: Recorder,
}

#[async_trait::async_trait]
impl Driver for SupportDriver {
    fn name(&self) -> &'static str {
        "support"
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Support(key) => vec![key.clone()],
            Change::Child { id, .. } if id.kind == ChildKind::Namespace => keys_of_namespace(index, &id.name),
            Change::Child { id, .. } => key_of_binding(id).into_iter().collect(),
            Change::Org(org) => {
                let children = index.children.of(org);
                let namespaces = children.iter().filter(|c| c.id.kind == ChildKind::Namespace);
                namespaces
                    .flat_map(|n| keys_of_namespace(index, &n.id.name))
                    .collect()
            }
            // Where its orgs' lines go.
            Change::Region(region) => {
                let of_region = |key: &String| {
                    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
                    home(index, namespace).is_some_and(|home| home.region.0 == *region)
                };
                index.support.names().into_iter().filter(of_region).collect()
            }
            _ => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        view::support::keys(index)
    }

    fn org(&self, index: &Index, key: &str) -> Option<String> {
        Some(home(index, key.split_once('/')?.0)?.org)
    }

    /// Nothing that ended while nobody looked stays open while other things are put in order.
    async fn begin(&self, ctx: &Arc<Context>) {
        let now = ctx.now();
        let surplus = view::support::keys(&ctx.index).into_iter().flat_map(|key| {
            let access = ctx.index.support.get(&key);
            let stands = access.map(|access| stands(ctx, &access, now));
            match stands {
                Some((Some(home), Standing::Open)) => others(&key, home.logs),
                _ => all(&key),
            }
        });
        stream::iter(surplus)
            .for_each_concurrent(AT_ONCE, |id| async move {
                if let Err(error) = remove(ctx, &id).await {
                    error!(%error, binding = %id, "failed to close support access; tried again");
                }
            })
            .await;
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let Some(access) = ctx.index.support.get(key) else {
            close(ctx, key).await?;
            return Ok(Requeue::OnChange);
        };
        let now = ctx.now();
        let (home, standing) = stands(ctx, &access, now);
        let effect = if let (Standing::Open, Some(home)) = (&standing, &home) {
            open(ctx, &access, home).await?
        } else {
            close(ctx, key).await?;
            Effect::InForce
        };
        let place = home
            .as_ref()
            .map_or(Place::Nowhere, |home| place(&ctx.index, home));
        let history = self.record(ctx, &access, home.as_ref(), &place);
        let pass = Pass {
            access: &access,
            home: home.as_ref(),
            standing: &standing,
            effect: &effect,
            place: &place,
            history: &history,
        };
        let status = status::of(&pass, now);
        let pending = status.history.iter().any(|event| !event.recorded);
        if access.metadata.deletion_timestamp.is_some() && may_go(&access, pending, &place, now) {
            tell(ctx, &access, &status.history).await;
            let finalizer = names::FINALIZER_SUPPORT;
            ctx.cluster.set_finalizer(&*access, finalizer, false).await?;
            return Ok(Requeue::OnChange);
        }
        let recorded = access.status.as_ref();
        if ctx.cluster.write_status(&*access, recorded, &status).await? {
            tell(ctx, &access, &status.history).await;
        }
        if let Effect::Refused(message) = effect {
            return Err(Blocked::person(reasons::APPLY_REFUSED, message));
        }
        Ok(next(&access, &standing, pending && place != Place::Nowhere, now))
    }
}

fn stands(ctx: &Context, access: &SupportAccess, now: Timestamp) -> (Option<Home>, Standing) {
    let home = home(&ctx.index, &access.namespace().unwrap_or_default());
    let standing = standing(access, home.as_ref(), &ctx.settings.support_groups, now);
    (home, standing)
}

/// The bindings of a grant.
fn all(key: &str) -> Vec<ChildId> {
    let parts = key.split_once('/');
    parts.map_or_else(Vec::new, |(namespace, name)| binding_ids(namespace, name).into())
}

/// Those that it must not have while it is open.
fn others(key: &str, logs: LogMode) -> Vec<ChildId> {
    let wanted = key
        .split_once('/')
        .map(|(namespace, name)| binding_id(namespace, name, logs));
    let mut others = all(key);
    others.retain(|id| Some(id) != wanted.as_ref());
    others
}

/// Puts support out; no request where it is not in.
async fn close(ctx: &Context, key: &str) -> Result<(), Blocked> {
    for id in all(key) {
        if ctx.index.children.get(&id).is_some() {
            info!(key, "support access is closed");
        }
        remove(ctx, &id).await?;
    }
    Ok(())
}

async fn remove(ctx: &Context, binding: &ChildId) -> Result<(), Blocked> {
    let removed = ctx.cluster.remove(binding).await;
    Ok(removed?)
}

/// Lets support in, and says whether it is.
async fn open(ctx: &Context, access: &SupportAccess, home: &Home) -> Result<Effect, Blocked> {
    let (namespace, name) = (access.namespace().unwrap_or_default(), access.name_any());
    let uid = access.uid().unwrap_or_default();
    let key = key_of(access.meta());
    let bindings = all(&key);
    let mut present = bindings.iter().filter_map(|id| ctx.index.children.get(id));
    // Of an earlier SupportAccess of that name: its role may be another, and a binding's role never changes.
    if present.any(|present| present.labels.get(names::LABEL_SUPPORT_UID) != Some(&uid)) {
        close(ctx, &key).await?;
        return Ok(Effect::Waiting(
            "the binding of an earlier SupportAccess of this name is going".to_owned(),
        ));
    }
    // What goes by how the org shows its logs is exchanged when that changes; what may be too much goes first.
    for other in others(&key, home.logs) {
        remove(ctx, &other).await?;
    }
    // Before anybody is let in, so that no end goes unrecorded.
    let finalizer = names::FINALIZER_SUPPORT;
    ctx.cluster.set_finalizer(access, finalizer, true).await?;
    let wanted = support::binding(support::Grant {
        namespace: &namespace,
        org: &home.org,
        org_id: &home.org_id,
        name: &name,
        uid: &uid,
        spec: &access.spec,
        logs: home.logs,
    });
    match ctx.cluster.ensure(&wanted).await {
        Ok(Applied::Going) => Ok(Effect::Waiting(format!("{} is being deleted", wanted.id))),
        Ok(_) if !is_announced(access, home) => Ok(Effect::Waiting(format!(
            "namespace {namespace} does not say yet that {} may debug: see the conditions of TrayOrg {}",
            access.spec.groups().join(", "),
            home.org
        ))),
        Ok(_) => Ok(Effect::InForce),
        Err(ApplyError::Refused { message, .. }) => Ok(Effect::Refused(message)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the exec gate lets the groups of a grant pass, as far as they need to.
fn is_announced(access: &SupportAccess, home: &Home) -> bool {
    let announced: Vec<&str> = home.debugging.split(',').collect();
    let groups = access.spec.groups();
    access.spec.role == Role::View || groups.iter().all(|group| announced.contains(&group.as_str()))
}

/// Whether a SupportAccess that is being deleted may go: what became of it is written, cannot be, or was tried for long.
fn may_go(access: &SupportAccess, pending: bool, place: &Place, now: Timestamp) -> bool {
    let since = access.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
    !pending || *place == Place::Nowhere || now.duration_since(since) >= LAST_LINE
}

/// When it is looked at again: at its end, and soon where a line is not written yet.
fn next(access: &SupportAccess, standing: &Standing, pending: bool, now: Timestamp) -> Requeue {
    let groups = access.spec.groups();
    let end = (*standing == Standing::Open).then(|| grant(access, &groups, now).until().duration_since(now));
    let end = end.map(|left| Duration::try_from(left).unwrap_or_default());
    let again = pending.then_some(AGAIN);
    match end.into_iter().chain(again).min() {
        Some(delay) => Requeue::After(delay),
        None => Requeue::OnChange,
    }
}

/// An event for each thing that has just become of a grant.
async fn tell(ctx: &Context, access: &SupportAccess, history: &[SupportEvent]) {
    let told: Vec<(Action, Time)> = access
        .status
        .iter()
        .flat_map(|status| &status.history)
        .map(|event| (event.action, event.at.clone()))
        .collect();
    for event in history {
        if told.contains(&(event.action, event.at.clone())) {
            continue;
        }
        let (reason, what) = match event.action {
            Action::Granted => (reasons::SUPPORT_GRANTED, "may"),
            Action::Reopened => (reasons::SUPPORT_GRANTED, "may again"),
            Action::Expired => (reasons::SUPPORT_EXPIRED, "may no longer"),
            Action::Removed => (reasons::SUPPORT_REMOVED, "may no longer"),
            Action::Closed => (reasons::SUPPORT_CLOSED, "may no longer"),
        };
        let spec = &access.spec;
        let note = format!(
            "{} {what} {}: {}",
            spec.groups().join(", "),
            spec.role.as_str(),
            spec.reason
        );
        ctx.events
            .publish(access, Severity::Normal, reason, "SupportAccess", note)
            .await;
    }
}

impl SupportDriver {
    /// Sees to it that what became of a grant is in the access record; returns the history with what is by now.
    fn record(
        &self,
        ctx: &Arc<Context>,
        access: &SupportAccess,
        home: Option<&Home>,
        place: &Place,
    ) -> Vec<SupportEvent> {
        let recorded = access.status.as_ref().map(|status| status.history.clone());
        let mut history = recorded.unwrap_or_default();
        let Some(home) = home else {
            return history;
        };
        // A grant that goes is not waited for: whatever is wrong with the bucket, its lines follow when it is mended.
        let has_place = match place {
            Place::Bucket(_) => true,
            Place::NotVerified(_) => access.metadata.deletion_timestamp.is_some(),
            Place::Nowhere => false,
        };
        for event in history.iter_mut().filter(|_| has_place) {
            if event.recorded {
                self.recorder.forget(place, access, home, event);
            } else {
                event.recorded = self.recorder.is_written(ctx, place, access, home, event);
            }
        }
        history
    }
}
