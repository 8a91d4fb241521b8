//! Whether the ledger of an org need not be read: nothing is due, nobody asks for anything, and all that it was judged by when it
//! was last read is as it was. Then what its status says stands, also after a start of the operator. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::json;
use tray_api::{
    conditions::types,
    orgsnapshot::{OrgSnapshot, PostHooks},
    trayorg::{BackupStatus, LedgerStatus, TrayOrg},
};
use tray_domain::{
    ids::KmsKeyArn,
    ledger::{Head, LedgerState, digest},
};

use super::{
    acknowledgements::{OF_BACKUPS, asked},
    org::OrgView,
    region::elsewhere,
    subject::Subject,
};
use crate::{
    controllers::{
        board::BackupView,
        conditions::{ConditionFact, Truth, find, whole_seconds},
    },
    resources::org::access::restore_binding,
};

/// However long nothing is due, the ledger is read once in that time: that it is there, and the key with it, is checked then.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(24);

/// What was known when the ledger was last read.
fn known(view: &OrgView) -> Option<&BackupStatus> {
    match &view.known.backups {
        Some(known) => Some(&known.status),
        None => view.org.status.as_ref()?.backup.as_ref(),
    }
}

/// What was last said of the ledger, while it does not rest: something is under way, or keeps it from being looked at. Nobody
/// takes it for resting then, also after a start, or once what was asked for is gone again. None = nothing was, or a person has given
/// that ledger up.
pub fn awake(subject: &Subject<'_>) -> Option<LedgerStatus> {
    if subject.has_given_up_ledger() {
        return None;
    }
    known(subject.view)?.ledger.clone().map(waking)
}

/// The same of a ledger, which does not rest any more.
pub fn waking(ledger: LedgerStatus) -> LedgerStatus {
    LedgerStatus {
        rests_until: None,
        judged_by: None,
        ..ledger
    }
}

/// The last entry of the org's ledger that was read; none = none was, or a person has given the ledger up.
pub fn head(subject: &Subject<'_>) -> Option<Head> {
    let ledger = known(subject.view)?.ledger.as_ref()?;
    let head = Head {
        seq: u64::try_from(ledger.last_entry).ok()?,
        digest: ledger.digest.clone(),
    };
    (!subject.has_given_up_ledger()).then_some(head)
}

/// Until when nothing is to be done for the org, as far as that is known without its ledger; none = its ledger has to be read.
pub fn at_rest(subject: &Subject<'_>, now: Timestamp) -> Option<Timestamp> {
    let view = subject.view;
    let ledger = known(view)?.ledger.as_ref()?;
    let until = ledger.rests_until.as_ref()?.0;
    let stands = view.known.backups.is_some() || is_healthy(&view.org);
    let has_copy = known(view)?.count.is_some_and(|count| count > 0);
    let same = ledger.judged_by.as_deref() == Some(&judged_by(subject, has_copy));
    (now < until && stands && same && is_quiet(subject)).then_some(until)
}

/// After a start the condition tells what was found in the ledger, or what somebody else has found: only where all is well these are
/// the same.
fn is_healthy(org: &TrayOrg) -> bool {
    let status = org.status.as_ref();
    let recorded = status.and_then(|status| find(&status.conditions, types::BACKUP_HEALTHY));
    recorded.is_some_and(|condition| condition.status == Truth::True.as_str())
}

/// Whether nobody asks for anything, and nothing is left of what was asked for.
fn is_quiet(subject: &Subject<'_>) -> bool {
    let view = subject.view;
    let binding = restore_binding(&subject.placement).id;
    view.restore.is_none()
        && view.movers.is_empty()
        && view.snapshots.iter().all(|snapshot| is_done(snapshot))
        && OF_BACKUPS
            .iter()
            .all(|decision| asked(subject.view, decision).is_none())
        && view.children.iter().all(|child| child.id != binding)
}

/// Whether nothing is left to do for an OrgSnapshot: its run has ended, and owes its workloads nothing.
fn is_done(snapshot: &OrgSnapshot) -> bool {
    let post = snapshot.status.as_ref().and_then(|status| status.post_hooks);
    snapshot.has_ended() && post != Some(PostHooks::Outstanding)
}

/// Digest of all that a ledger is judged by, besides itself and the time. The first copy waits for the workloads.
fn judged_by(subject: &Subject<'_>, has_copy: bool) -> String {
    let (view, spec) = (subject.view, &subject.region.spec);
    let claims = subject.claims();
    let mut claims: Vec<_> = claims.iter().map(|claim| (&claim.volume, &claim.uid)).collect();
    claims.sort_unstable();
    let snapshots = view.snapshots.iter();
    let mut snapshots: Vec<_> = snapshots
        .map(|snapshot| (snapshot.name_any(), snapshot.uid()))
        .collect();
    snapshots.sort_unstable();
    let judged_by = json!({
        "generation": subject.org().metadata.generation,
        "place": [json!(subject.location), json!(subject.ledger_key), json!(subject.shared_key), json!(spec.stage)],
        "elsewhere": elsewhere(&subject.region),
        "available": has_copy || subject.is_available(),
        "schedule": subject.schedule().map(|schedule| &schedule.spec),
        "retention": subject.snapshot_retention(),
        "claims": claims,
        "snapshots": snapshots,
    });
    digest(judged_by.to_string().as_bytes())
}

/// What an org was when its ledger was judged, and what it is at the end of that look.
pub struct Seen<'a> {
    /// When the look began.
    pub then: &'a Subject<'a>,
    /// By now.
    pub now: &'a Subject<'a>,
}

/// What the status says of the ledger after a look at it. `until` = when something is due, if nothing is under way. What has
/// changed meanwhile was not judged: then it does not rest.
pub fn ledger(
    seen: &Seen<'_>,
    state: &LedgerState,
    key: &KmsKeyArn,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Option<LedgerStatus> {
    let head = state.head()?;
    let longest = now.checked_add(LONGEST_REST).unwrap_or(now);
    let has_copy = state.newest_good().is_some();
    let by = judged_by(seen.now, has_copy);
    let is_at_rest = is_quiet(seen.now) && judged_by(seen.then, has_copy) == by;
    let until = until.map(|until| until.min(longest)).filter(|_| is_at_rest);
    Some(LedgerStatus {
        last_entry: i64::try_from(head.seq).ok()?,
        digest: head.digest,
        kms_key_arn: Some(key.to_string()),
        judged_by: until.map(|_| by),
        rests_until: until.map(|until| Time(whole_seconds(until))),
    })
}

/// What the status has recorded of backups, as it stands while the ledger is not read; none = nothing.
pub fn recorded(org: &TrayOrg) -> Option<BackupView> {
    let status = org.status.as_ref()?;
    let fact = |type_: &str| find(&status.conditions, type_).map(ConditionFact::of);
    Some(BackupView {
        status: status.backup.clone()?,
        healthy: fact(types::BACKUP_HEALTHY)?,
        rpo: fact(types::RPO_MET)?,
    })
}

/// The org's key, as its status has it.
pub fn key(org: &TrayOrg) -> Option<KmsKeyArn> {
    let ledger = org.status.as_ref()?.backup.as_ref()?.ledger.as_ref()?;
    ledger.kms_key_arn.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tray_api::trayorg::AcknowledgementResult;
    use tray_domain::{ledger::testing::Story, names};

    use super::*;
    use crate::{
        adapters::kube::{child::ChildFact, index::Index},
        controllers::{
            board::Board,
            changes::Changes,
            view::{acknowledgements::with, org::Sources},
        },
        resources::{child::ChildKind, org::fixtures},
    };

    const UNTIL: &str = "2026-01-02T00:00:00Z";
    const BEFORE: &str = "2026-01-01T23:59:59Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn object(kind: &str, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"}})
    }
    fn condition(status: &str) -> Value {
        json!({"type": "BackupHealthy", "status": status, "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }
    fn org(ledger: &Value) -> Value {
        let mut org = object("TrayOrg", "acme", &serde_json::to_value(fixtures::org()).unwrap());
        org["metadata"]["generation"] = 1.into();
        org["status"] = json!({"orgId": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "namespace": "org-acme-7c9e6679",
            "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
            "conditions": [condition("True")], "backup": {"count": 1, "ledger": ledger}});
        org
    }
    fn snapshot(name: &str, phase: &str) -> Value {
        let mut snapshot = object("OrgSnapshot", name, &json!({"orgRef": {"name": "acme"}}));
        snapshot["status"] = json!({"phase": phase});
        snapshot
    }
    fn claim(index: &Index, name: &str, uid: &str) {
        let live = json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679", "uid": uid,
            "labels": {names::LABEL_ORG: "acme"}}});
        let live = serde_json::from_value(live).unwrap();
        index
            .children
            .observe(ChildFact::of(ChildKind::PersistentVolumeClaim, &live));
    }
    /// An org with a claim and an OrgSnapshot.
    fn index(org: &Value) -> Index {
        let index = Index::default();
        let region = object("Region", "eu", &serde_json::to_value(fixtures::region()).unwrap());
        index.regions.put(serde_json::from_value(region).unwrap());
        index.orgs.put(serde_json::from_value(org.clone()).unwrap());
        index
            .snapshots
            .put(serde_json::from_value(snapshot("acme-1", "Committed")).unwrap());
        claim(&index, "data-db-0", "uid-1");
        index
    }
    fn looked<T>(index: Index, look: impl FnOnce(&Subject<'_>) -> T) -> T {
        look(&Subject::of(&seen(&Arc::new(index))).unwrap())
    }
    fn seen(index: &Arc<Index>) -> OrgView {
        let sources = Sources {
            index,
            board: &Board::new(Arc::new(Changes::new(index.clone()))),
            support_groups: &[],
            now: at(BEFORE),
        };
        OrgView::of(index.orgs.get("acme").unwrap(), &sources)
    }
    /// What the status says after a look from which nothing is due until then, while `change` happened.
    fn after_a_look(until: Timestamp, change: impl FnOnce(&Index)) -> LedgerStatus {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        let key = "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap();
        let index = Arc::new(index(&org(&Value::Null)));
        let before = seen(&index);
        change(&index);
        let after = seen(&index);
        let seen = Seen {
            then: &Subject::of(&before).unwrap(),
            now: &Subject::of(&after).unwrap(),
        };
        let now = at("2026-01-01T00:00:00Z");
        ledger(&seen, &story.state, &key, Some(until), now).unwrap()
    }
    /// As the status has it after a look that ended in rest.
    fn settled() -> Value {
        serde_json::to_value(after_a_look(at(UNTIL), |_| {})).unwrap()
    }

    #[test]
    fn a_ledger_is_not_read_before_something_is_due() {
        let org = org(&settled());
        let rests = |now: &str| looked(index(&org), |subject| at_rest(subject, at(now)));
        assert_eq!(rests(BEFORE), Some(at(UNTIL)));
        assert_eq!(rests(UNTIL), None);
        let head = looked(index(&org), head).unwrap();
        assert_eq!(head.seq, 2);
    }

    #[test]
    fn a_ledger_rests_a_day_at_the_most() {
        let found = after_a_look(Timestamp::MAX, |_| {});
        assert_eq!(found.rests_until.unwrap().0, at(UNTIL));
    }

    #[test]
    fn what_has_changed_during_the_look_was_not_judged() {
        let found = after_a_look(at(UNTIL), |index| claim(index, "data-db-0", "uid-2"));
        assert_eq!(
            (found.last_entry, found.rests_until, found.judged_by),
            (2, None, None)
        );
    }

    #[test]
    fn a_ledger_that_was_woken_is_read_though_all_is_as_it_was() {
        let org = org(&serde_json::to_value(waking(after_a_look(at(UNTIL), |_| {}))).unwrap());
        assert_eq!(looked(index(&org), |subject| at_rest(subject, at(BEFORE))), None);
        // What was seen of it is still known.
        let woken = looked(index(&org), |subject| (head(subject), awake(subject)));
        assert_eq!((woken.0.unwrap().seq, woken.1.unwrap().last_entry), (2, 2));
    }

    /// The annotation stays, as what lies in Git does.
    #[test]
    fn what_was_accepted_once_keeps_no_org_awake_and_another_value_does() {
        let bucket = fixtures::region().backup.bucket;
        let again = format!("{bucket}/2");
        for (annotation, value, other) in [
            (names::ANNOTATION_ACCEPT_RUN, "run-1", "run-2"),
            (names::ANNOTATION_ACCEPT_DATA_LOSS, "data-db-0", "data-db-0/1f3c"),
            (names::ANNOTATION_ACCEPT_LEDGER_LOSS, &*bucket, &*again),
        ] {
            let mut org = org(&settled());
            let known = with(
                &[],
                annotation,
                value,
                AcknowledgementResult::CarriedOut,
                at(BEFORE),
            );
            org["status"]["acknowledgements"] = serde_json::to_value(known).unwrap();
            let looks = |org: &Value| {
                looked(index(org), |subject| {
                    (at_rest(subject, at(BEFORE)).is_some(), head(subject).is_some())
                })
            };
            org["metadata"]["annotations"] = json!({annotation: value});
            assert_eq!(looks(&org), (true, true), "{annotation}: carried out");
            org["metadata"]["annotations"] = json!({annotation: other});
            let gives_up = annotation == names::ANNOTATION_ACCEPT_LEDGER_LOSS;
            assert_eq!(looks(&org), (false, !gives_up), "{annotation}: asked for anew");
        }
    }

    #[test]
    fn what_is_known_of_a_ledger_goes_when_a_person_gives_that_up_and_no_other() {
        let bucket = fixtures::region().backup.bucket;
        for (value, is_known) in [(bucket.as_str(), false), ("another-bucket", true)] {
            let mut org = org(&settled());
            org["metadata"]["annotations"] = json!({names::ANNOTATION_ACCEPT_LEDGER_LOSS: value});
            let known = looked(index(&org), |subject| {
                (head(subject).is_some(), awake(subject).is_some())
            });
            assert_eq!(known, (is_known, is_known), "{value}");
        }
    }

    #[test]
    fn what_changes_has_the_ledger_read() {
        type Change = fn(&mut Value, &Index);
        let changes: [(&str, Change); 10] = [
            ("spec", |org, _| org["metadata"]["generation"] = 2.into()),
            ("health", |org, _| {
                org["status"]["conditions"] = json!([condition("False")]);
            }),
            ("a decision", |org, _| {
                org["metadata"]["annotations"] = json!({names::ANNOTATION_ACCEPT_RUN: "x"});
            }),
            ("another claim", |_, index| claim(index, "data-db-0", "uid-2")),
            ("one claim more", |_, index| claim(index, "data-web-0", "uid-3")),
            ("a snapshot that is asked for", |_, index| {
                index
                    .snapshots
                    .put(serde_json::from_value(snapshot("acme-2", "Pending")).unwrap());
            }),
            ("a post that is outstanding", |_, index| {
                let mut owed = snapshot("acme-1", "Committed");
                owed["status"]["postHooks"] = "Outstanding".into();
                index.snapshots.put(serde_json::from_value(owed).unwrap());
            }),
            ("a snapshot that goes", |_, index| {
                index.snapshots.remove("acme-1", None);
            }),
            ("a restore", |_, index| {
                let restore = object(
                    "OrgRestore",
                    "r",
                    &json!({"orgRef": {"name": "acme"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}}),
                );
                index.restores.put(serde_json::from_value(restore).unwrap());
            }),
            ("the schedule", |_, index| {
                let schedule = object("BackupSchedule", "standard", &json!({"schedule": "0 3 * * *"}));
                index.schedules.put(serde_json::from_value(schedule).unwrap());
            }),
        ];
        let is_same = |org: &Value| looked(index(org), |subject| at_rest(subject, at(BEFORE))).is_some();
        assert!(is_same(&org(&settled())), "where nothing changes it rests");
        for (what, change) in changes {
            let mut org = org(&settled());
            let index = index(&org);
            change(&mut org, &index);
            org["metadata"]["resourceVersion"] = "2".into();
            index.orgs.put(serde_json::from_value(org).unwrap());
            assert_eq!(
                looked(index, |subject| at_rest(subject, at(BEFORE))),
                None,
                "{what}"
            );
        }
    }
}
