//! Makes children be as they should be, with no request where they are.
//!
//! A child that is not there is posted. One whose wanted body changed, or that no longer covers it, is patched: JSON
//! merge patch of the whole body with the UID as precondition. One that is there although the index does not know it
//! (somebody took its label away) is read once, taken over by server-side apply if it is ours, and refused if it is not.
//! Answers go into the index at once, so that the watch's own echo of them is no news. One that differs where a living object
//! never changes is made anew ([`super::remake`]).
//!
//! What the API server keeps otherwise than it was written is taken for written, and counted: writing it again would not
//! change it. What somebody else changes again and again is left alone for a while ([`super::field_conflicts`]).

use std::sync::Arc;

use kube::{
    Client, Resource,
    api::{
        Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
        Preconditions,
    },
    core::Request,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::{info, warn};
use tray_domain::names;
use tray_ledger::Leadership;

use super::{
    answer::{refusal, told},
    child::{ChildFact, State},
    compare::{difference, digest, patch, without_nulls},
    field_conflicts::{FieldConflicts, Round, contester},
    index::Index,
    leadership::Written,
    live::Live,
    remake::{FixedField, fixed_difference},
};
use crate::{
    resources::child::{ChildId, ChildKind, DesiredChild},
    telemetry::metrics::{Metrics, OfKind},
};

/// Services that are given an address at once: the API server takes ten times as long for one as for anything else, and
/// the more of them it has in hand, the longer for each.
const ADDRESSES_AT_ONCE: usize = 4;

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was as it should be: no request was made.
    Unchanged,
    /// It was made.
    Created,
    /// It was changed.
    Changed,
    /// It is being deleted, by us or somebody else: it is made anew once it is gone, which the watch will tell.
    Going,
}

/// Why a child could not be made as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name is there and is not ours.
    #[error("{0} is there already and is not this org's: remove or rename it")]
    Foreign(ChildId),
    /// The API server refuses the object: trying again will not help until something changes.
    #[error("the API server refuses {id}: {message}")]
    Refused {
        /// The child.
        id: ChildId,
        /// Its codes, and which fields are wrong.
        message: String,
    },
    /// A field differs that never changes on a living object, and the child is never made anew.
    #[error(
        "{id}: {field} never changes once it is set, and the child is never made anew, since it holds data: put what says \
         otherwise back as it was"
    )]
    Fixed {
        /// The child.
        id: ChildId,
        /// Path of the field.
        field: String,
    },
    /// Somebody else changes the child again and again.
    #[error(
        "{id}: {field} is changed again and again by {by}: have it leave the object alone. Until then it is put back \
         every few minutes"
    )]
    Contested {
        /// The child.
        id: ChildId,
        /// Path of the field.
        field: String,
        /// Who, in words.
        by: String,
    },
    /// The API server did not answer, or not now.
    #[error("failed to write {id}: {}", told(.source))]
    Failed {
        /// The child.
        id: ChildId,
        /// What went wrong.
        source: Box<kube::Error>,
    },
}

/// The cluster, as far as the operator changes it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    pub(super) index: Arc<Index>,
    metrics: Arc<Metrics>,
    conflicts: Arc<FieldConflicts>,
    addresses: Arc<Semaphore>,
    pub(super) written: Arc<Written>,
    pub(super) leadership: Option<Arc<dyn Leadership>>,
}

/// What a child should be, with the digest by which that is known again.
#[derive(Clone, Copy)]
struct Goal<'a> {
    id: &'a ChildId,
    body: &'a Value,
    digest: u64,
}

impl Goal<'_> {
    fn fixed_difference(&self, live: &Value) -> Option<FixedField> {
        fixed_difference(self.id.kind, self.body, live)
    }
}

impl Cluster {
    /// Writes with `client` and remembers in `index`.
    pub fn new(client: Client, index: Arc<Index>) -> Self {
        Self {
            client,
            index,
            metrics: Arc::default(),
            conflicts: Arc::default(),
            addresses: Arc::new(Semaphore::new(ADDRESSES_AT_ONCE)),
            written: Arc::default(),
            leadership: None,
        }
    }

    /// Writes no status over another process's while `leadership` says that this one leads no more.
    #[must_use]
    pub fn led_by(mut self, leadership: Arc<dyn Leadership>) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// Counts in `metrics`.
    #[must_use]
    pub fn counting(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Makes a child be as wanted.
    pub async fn ensure(&self, wanted: &DesiredChild) -> Result<Applied, ApplyError> {
        let goal = Goal {
            id: &wanted.id,
            body: &wanted.body,
            digest: digest(&wanted.body),
        };
        let Some(fact) = self.index.children.get(goal.id) else {
            if let Some(contest) = self.conflicts.hides(goal.id, goal.digest) {
                return Err(contest.into());
            }
            return self.create(goal).await;
        };
        if fact.deleting {
            return Ok(Applied::Going);
        }
        let (live, before) = match &fact.state {
            State::Settled(wanted) if *wanted == goal.digest => return Ok(Applied::Unchanged),
            State::Settled(_) => (None, None),
            State::New { substance, before } => (Some(read(substance)), *before),
        };
        if let Some(live) = &live {
            let Some(field) = difference(goal.body, live) else {
                self.index.children.settle(goal.id, fact.digest, goal.digest);
                return Ok(Applied::Unchanged);
            };
            info!(child = %goal.id, field, "differs from what it should be");
            if before == Some(goal.digest) {
                self.conflict(goal, &field).await?;
            }
        }
        let uid = &fact.identity.uid;
        if let Some(fixed) = live.as_ref().and_then(|live| goal.fixed_difference(live)) {
            return self.remake(goal.id, uid, fixed).await;
        }
        self.change(goal, uid, live.as_ref()).await
    }

    /// Removes a child, if it is there. One that is gone already is success.
    pub async fn remove(&self, id: &ChildId) -> Result<(), ApplyError> {
        let Some(fact) = self.index.children.get(id) else {
            return Ok(());
        };
        if fact.deleting {
            return Ok(());
        }
        // In the background: what a workload leaves behind is collected by Kubernetes.
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(fact.identity.uid.clone()),
            resource_version: None,
        });
        match self.api(id).delete(&id.name, &params).await {
            Ok(_) => {
                info!(child = %id, "removed");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed(id, error)),
        }
    }

    /// The same of the one with that UID: what has taken its place since is left.
    pub async fn remove_that(&self, id: &ChildId, uid: &str) -> Result<(), ApplyError> {
        match self.index.children.get(id) {
            Some(fact) if fact.identity.uid == uid => self.remove(id).await,
            _ => Ok(()),
        }
    }

    /// Asks the API server whether an object of that kind and name is there, whosever it is: for one that the index
    /// should know and does not.
    pub async fn exists(&self, id: &ChildId) -> Result<bool, ApplyError> {
        let found = self.api(id).get_opt(&id.name).await;
        Ok(found.map_err(|error| failed(id, error))?.is_some())
    }

    /// Asks the API server for the UID of an object of that kind and name, whosever it is: the index may be behind.
    pub async fn uid_of(&self, id: &ChildId) -> Result<Option<String>, ApplyError> {
        let found = self.api(id).get_opt(&id.name).await;
        let found = found.map_err(|error| failed(id, error))?;
        Ok(found.and_then(|live| live.metadata.uid))
    }

    async fn create(&self, goal: Goal<'_>) -> Result<Applied, ApplyError> {
        let _turn = if gets_an_address(goal) {
            self.addresses.acquire().await.ok()
        } else {
            None
        };
        match self.post(goal).await {
            Ok(live) => {
                self.learn(goal, &live);
                Ok(Applied::Created)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.take_over(goal).await,
            Err(error) => Err(failed(goal.id, error)),
        }
    }

    async fn post(&self, goal: Goal<'_>) -> Result<Live, kube::Error> {
        let namespace = Some(goal.id.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(&whole(goal)).map_err(kube::Error::SerdeError)?;
        let request =
            Request::new(Live::url_path(&api_resource(goal.id.kind), namespace)).create(&params, body);
        self.client
            .request(request.map_err(kube::Error::BuildRequest)?)
            .await
    }

    /// The object is there and the index does not know it: it lost its label, or was made an instant ago.
    async fn take_over(&self, goal: Goal<'_>) -> Result<Applied, ApplyError> {
        let id = goal.id;
        let read_one = self.api(id).get(&id.name).await;
        let live = read_one.map_err(|error| failed(id, error))?;
        if !is_ours(goal, &live) {
            return Err(ApplyError::Foreign(id.clone()));
        }
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(Applied::Going);
        }
        let (fact, held) = (ChildFact::of(id.kind, &live), read(&live.substance()));
        let Some(field) = difference(goal.body, &held) else {
            self.learn(goal, &live);
            return Ok(Applied::Unchanged);
        };
        self.conflict(goal, &field).await?;
        let uid = fact.identity.uid;
        if let Some(fixed) = goal.fixed_difference(&held) {
            return self.remake(id, &uid, fixed).await;
        }
        let mut body = whole(goal);
        body["metadata"]["uid"] = uid.as_str().into();
        let params = PatchParams::apply(names::OPERATOR).force();
        let adopted = self.api(id).patch(&id.name, &params, &Patch::Apply(body)).await;
        let adopted = adopted.map_err(|error| failed(id, error))?;
        // Applying takes nothing away that somebody else put there.
        self.complete(goal, &uid, adopted).await
    }

    async fn change(&self, goal: Goal<'_>, uid: &str, live: Option<&Value>) -> Result<Applied, ApplyError> {
        let answer = self.patch(goal.id, patch(goal.body, live, uid), uid).await;
        if live.is_some() {
            self.learn(goal, &answer?);
            return Ok(Applied::Changed);
        }
        match answer {
            Err(refused @ ApplyError::Refused { .. }) => self.judge(goal, uid, refused).await,
            answer => self.complete(goal, uid, answer?).await,
        }
    }

    /// A change of a child was refused of which it is not known what it holds: what never changes may be why.
    async fn judge(&self, goal: Goal<'_>, uid: &str, refused: ApplyError) -> Result<Applied, ApplyError> {
        if goal.id.kind.fixed_fields().is_empty() {
            return Err(refused);
        }
        let read_one = self.api(goal.id).get(&goal.id.name).await;
        let live = read_one.map_err(|error| failed(goal.id, error))?;
        match goal.fixed_difference(&read(&live.substance())) {
            Some(fixed) => self.remake(goal.id, uid, fixed).await,
            None => Err(refused),
        }
    }

    /// What the child held was not known before the write that was answered with `answer`: what has no place in it is
    /// taken away now.
    async fn complete(&self, goal: Goal<'_>, uid: &str, mut answer: Live) -> Result<Applied, ApplyError> {
        let held = read(&answer.substance());
        if let Some(fixed) = goal.fixed_difference(&held) {
            return self.remake(goal.id, uid, fixed).await;
        }
        if difference(goal.body, &held).is_some() {
            answer = self
                .patch(goal.id, patch(goal.body, Some(&held), uid), uid)
                .await?;
        }
        self.learn(goal, &answer);
        Ok(Applied::Changed)
    }

    async fn patch(&self, id: &ChildId, patch: Value, uid: &str) -> Result<Live, ApplyError> {
        let params = PatchParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        match self.api(id).patch(&id.name, &params, &Patch::Merge(patch)).await {
            // Gone, or another object of that name: the watch will tell, and the next pass makes it.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.index.children.remove(id, Some(uid));
                Err(failed(id, kube::Error::Api(status)))
            }
            answer => answer.map_err(|error| failed(id, error)),
        }
    }

    /// Remembers what a write was answered with.
    fn learn(&self, goal: Goal<'_>, live: &Live) {
        let fact = ChildFact::of(goal.id.kind, live);
        if let State::New { substance, .. } = &fact.state
            && let Some(field) = difference(goal.body, &read(substance))
        {
            warn!(child = %goal.id, field, "the API server keeps something else than was written");
            let kind = goal.id.kind.as_str();
            self.metrics.kept_otherwise.get_or_create(&OfKind { kind }).inc();
        }
        let written = fact.digest;
        self.index.children.answer(fact);
        self.index.children.settle(goal.id, written, goal.digest);
    }

    /// Somebody else changed `field` of a child that was as it should be. Fails where that goes on and on: then it is
    /// left alone for a while. Who it is, is asked once a conflict.
    async fn conflict(&self, goal: Goal<'_>, field: &str) -> Result<(), ApplyError> {
        match self.conflicts.round(goal.id, field, goal.digest) {
            Round::Repair => Ok(()),
            Round::Wait(contest) => Err(contest.into()),
            Round::Begins => {
                let api: Api<DynamicObject> = self.objects(goal.id);
                let metadata = api.get_metadata(&goal.id.name).await;
                let metadata = metadata.map_err(|error| failed(goal.id, error))?.metadata;
                let by = contester(metadata.managed_fields.as_deref().unwrap_or_default(), field);
                Err(self.conflicts.named(goal.id, by).into())
            }
        }
    }

    fn api(&self, id: &ChildId) -> Api<Live> {
        self.objects(id)
    }

    pub(super) fn objects<
        K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
    >(
        &self,
        id: &ChildId,
    ) -> Api<K> {
        let resource = api_resource(id.kind);
        if id.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &id.namespace, &resource)
        }
    }
}

/// How the Kubernetes client names a kind.
pub fn api_resource(kind: ChildKind) -> ApiResource {
    let (group, version) = kind.group_version();
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(group, version, kind.as_str()),
        kind.plural(),
    )
}

/// The wanted body as it is posted: with kind, name and namespace, and without what must be absent.
fn whole(goal: Goal<'_>) -> Value {
    let mut body = without_nulls(goal.body);
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["apiVersion"] = goal.id.kind.api_version().into();
    body["kind"] = goal.id.kind.as_str().into();
    body["metadata"]["name"] = goal.id.name.as_str().into();
    if !goal.id.namespace.is_empty() {
        body["metadata"]["namespace"] = goal.id.namespace.as_str().into();
    }
    body
}

/// A substance is JSON that the API server wrote.
fn read(substance: &str) -> Value {
    serde_json::from_str(substance).unwrap_or_default()
}

/// A Service that is not headless.
fn gets_an_address(goal: Goal<'_>) -> bool {
    goal.id.kind == ChildKind::Service && goal.body["spec"]["clusterIP"] != "None"
}

/// An org's namespace is the operator's, so what has a child's name there is the child. A namespace itself is only ours
/// if it says which org it is of: policies let nobody else write that label.
fn is_ours(goal: Goal<'_>, live: &Live) -> bool {
    if goal.id.kind != ChildKind::Namespace {
        return true;
    }
    let labels = live.metadata.labels.as_ref();
    let org_id = labels.and_then(|labels| labels.get(names::LABEL_ORG_ID));
    org_id.is_some_and(|org_id| goal.body["metadata"]["labels"][names::LABEL_ORG_ID] == org_id.as_str())
}

pub(super) fn failed(id: &ChildId, error: kube::Error) -> ApplyError {
    match error {
        // 403 may be a namespace that is going, a quota, or rights not yet granted; 422 and 400 are the object's fault.
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => ApplyError::Refused {
            id: id.clone(),
            message: refusal(&status),
        },
        error => ApplyError::Failed {
            id: id.clone(),
            source: Box::new(error),
        },
    }
}
