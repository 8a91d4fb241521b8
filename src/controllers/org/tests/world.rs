//! A cluster as the controller sees it, and org acme in it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tray_api::trayorg::{TrayOrg, TrayOrgStatus};

use crate::{
    adapters::kube::{child::ChildFact, index::Index},
    controllers::{
        Blocked,
        board::Board,
        changes::Changes,
        conditions::{ConditionFact, find},
        org::{
            retention::kept,
            status::{self, Findings},
            validate::{Valid, validate},
            webhook_host::WebhookFindings,
        },
        view::{
            org::{OrgView, Sources},
            subject::Subject,
            support::Support,
        },
    },
    resources::{child::ChildKind, org::fixtures},
};

pub(super) const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
pub(super) const UID: &str = "11111111-1111-4111-8111-111111111111";

/// A cluster in which org acme is not placed yet, and could be.
pub(super) struct World {
    pub(super) index: Arc<Index>,
    pub(super) board: Board,
    pub(super) org: Value,
    pub(super) region: Value,
    pub(super) policy: Value,
    pub(super) others: Vec<Value>,
    pub(super) support: Support,
}

pub(super) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": UID, "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    })
}

impl World {
    pub(super) fn new() -> Self {
        let mut region = object("Region", "eu", &serde_json::to_value(fixtures::region()).unwrap());
        region["status"] = json!({"conditions": [condition("Ready", "True", "all is well")]});
        let index = Arc::<Index>::default();
        Self {
            board: Board::new(Arc::new(Changes::new(index.clone()))),
            index,
            org: object("TrayOrg", "acme", &serde_json::to_value(fixtures::org()).unwrap()),
            region,
            policy: object("RetentionPolicy", "standard", &json!({})),
            others: vec![],
            support: Support::default(),
        }
    }

    pub(super) fn placed() -> Self {
        let mut world = Self::new();
        world.org["status"] = json!({
            "observedGeneration": 3, "orgId": ID, "namespace": "org-acme-7c9e6679",
            "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        });
        world
    }

    pub(super) fn recorded(mut self, conditions: &Value) -> Self {
        self.org["status"]["conditions"] = conditions.clone();
        self
    }

    /// Somebody who may has allowed the org to take up what is held of an earlier one.
    pub(super) fn allow(&mut self) {
        self.org["metadata"]["annotations"] = json!({"platform.tray.ai/reattach": "allowed"});
    }

    pub(super) fn child(&self, kind: ChildKind, labels: &Value, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["labels"] = labels.clone();
        let live = serde_json::from_value(object).unwrap();
        self.index.children.observe(ChildFact::of(kind, &live));
    }

    pub(super) fn observed(&self) -> OrgView {
        let read = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        if !self.region.is_null() {
            self.index
                .regions
                .put(serde_json::from_value(self.region.clone()).unwrap());
        }
        if !self.policy.is_null() {
            self.index
                .policies
                .put(serde_json::from_value(self.policy.clone()).unwrap());
            let spec = json!({"schedule": "0 */12 * * *"});
            let schedule = object("BackupSchedule", "standard", &spec);
            self.index
                .schedules
                .put(serde_json::from_value(schedule).unwrap());
        }
        for other in &self.others {
            self.index.orgs.put(read(other));
        }
        let org: TrayOrg = read(&self.org);
        self.index.orgs.put(org);
        OrgView {
            support: self.support.clone(),
            ..self.view("acme")
        }
    }

    /// What is known of an org that is in the index.
    pub(super) fn view(&self, name: &str) -> OrgView {
        let sources = Sources {
            index: &self.index,
            board: &self.board,
            support_groups: &[],
            now: now(),
        };
        OrgView::of(self.index.orgs.get(name).unwrap(), &sources)
    }

    /// What keeps snapshots from being taken; none where nothing does.
    pub(super) fn hindrance(&self) -> Option<Blocked> {
        Subject::of(&self.observed()).err()
    }

    pub(super) fn valid(&self) -> Valid {
        validate(&self.observed()).unwrap()
    }

    pub(super) fn obstacle(&self) -> Blocked {
        validate(&self.observed()).unwrap_err()
    }

    /// The status of an org that cannot be worked on.
    pub(super) fn status_of_obstacle(&self) -> TrayOrgStatus {
        let observed = self.observed();
        let hindrance = Subject::of(&observed).err().filter(|_| observed.is_placed());
        let hindrance = hindrance.map(|hindrance| hindrance.fact());
        let kept = kept(&observed, now());
        status::of_blocked(&observed, &self.obstacle(), hindrance.as_ref(), &kept, now())
    }

    /// The status after a pass in which `workloads` was found.
    pub(super) fn status(&self, workloads: &ConditionFact) -> TrayOrgStatus {
        self.status_with(workloads, WebhookFindings::default())
    }

    /// The same where that was found of the webhook host.
    pub(super) fn status_with(&self, workloads: &ConditionFact, webhook: WebhookFindings) -> TrayOrgStatus {
        let observed = self.observed();
        let findings = Findings {
            residency: fact(true, "AllInRegion"),
            mended: false,
            placement: None,
            zones: fact(true, "Spread"),
            isolation: fact(true, "Acknowledged"),
            quota: fact(true, "AsSpecified"),
            workloads: workloads.clone(),
            webhook,
            kept: kept(&observed, now()),
            refused: None,
        };
        status::of_valid(&observed, &validate(&observed).unwrap(), &findings, now())
    }
}

pub(super) fn condition(type_: &str, status: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Recorded", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
pub(super) fn fact(value: bool, reason: &str) -> ConditionFact {
    ConditionFact::new(value, reason, "said")
}
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}
pub(super) fn reason_of(status: &TrayOrgStatus, type_: &str) -> Option<(String, String)> {
    find(&status.conditions, type_).map(|c| (c.status.clone(), c.reason.clone()))
}
#[expect(clippy::unnecessary_wraps, reason = "what `reason_of` is compared with")]
pub(super) fn said(value: &str, reason: &str) -> Option<(String, String)> {
    Some((value.to_owned(), reason.to_owned()))
}
pub(super) fn is_obstacle(obstacle: &Blocked, reason: &str, names: &[&str]) {
    assert_eq!(obstacle.reason, reason, "{}", obstacle.message);
    for name in names {
        assert!(
            obstacle.message.contains(name),
            "{name} is not named: {}",
            obstacle.message
        );
    }
}
