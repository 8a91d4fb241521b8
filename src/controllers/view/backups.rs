//! What the TrayOrg's status says of its backups.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tray_api::{
    backup_schedule::BackupSchedule,
    conditions::{reasons, types},
    trayorg::{self, BackupStatus, RpoStatus, RtoStatus, TrayOrg},
};
use tray_domain::{
    ids::{PartId, RunId},
    ledger::{LedgerState, Run, RunEnd},
    manifest::Manifest,
    names::ANNOTATION_ACCEPT_RUN,
    objectives::{RpoVerdict, RtoVerdict, rpo, rto},
    retention::{leaves_out, lets_go},
    run_failure::told,
    schedule::first_at_latest,
    sweep::failing,
    volume_facts::Loss,
};

use super::{
    rest::waking,
    schedule::{objective, without_slots},
    subject::{Subject, placed_at},
};
use crate::controllers::{
    blocked::Blocked,
    board::BackupView,
    conditions::{ConditionFact, Truth, find, whole_seconds},
};

/// What is read off a ledger.
pub struct Read<'a> {
    /// The ledger.
    pub state: &'a LedgerState,
    /// When the next run is due by the schedule.
    pub next_due: Option<Timestamp>,
    /// Volumes that lost their data.
    pub losses: &'a [Loss],
    /// What the ledger does not say.
    pub trouble: Trouble,
}

/// What keeps snapshots from getting on although the ledger does not say so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trouble {
    /// What does so now.
    pub now: Option<ConditionFact>,
    /// What the newest run left undone.
    pub owed: Option<ConditionFact>,
    /// When there may be more of it, if nothing happens.
    pub changes_at: Option<Timestamp>,
}

/// What the status says after a look at the ledger; and when that changes by time alone.
pub fn view(
    subject: &Subject<'_>,
    read: &Read<'_>,
    problem: Option<&ConditionFact>,
    now: Timestamp,
) -> (BackupView, Option<Timestamp>) {
    judge(subject.org(), subject.schedule(), read, problem, now)
}

/// What a look at the ledger of an org will say that was only just placed, and whose workloads are `available` or not:
/// nothing has run. So its status need not be written again to say so.
pub fn before_any_run(
    org: &TrayOrg,
    schedule: &BackupSchedule,
    available: bool,
    now: Timestamp,
) -> BackupView {
    let waits = !available && !schedule.spec.suspend;
    let read = Read {
        state: &LedgerState::default(),
        next_due: first_at_latest(placed_at(org)).filter(|_| waits),
        losses: &[],
        trouble: Trouble::default(),
    };
    judge(org, Some(schedule), &read, None, now).0
}

fn judge(
    org: &TrayOrg,
    schedule: Option<&BackupSchedule>,
    read: &Read<'_>,
    problem: Option<&ConditionFact>,
    now: Timestamp,
) -> (BackupView, Option<Timestamp>) {
    let objectives = schedule
        .map(|schedule| schedule.spec.objectives.clone())
        .unwrap_or_default();
    let point = rpo(read.state, objective(objectives.rpo_hours), placed_at(org), now);
    let time = rto(read.state, objective(objectives.rto_hours));
    let good = read.state.good_runs();
    let newest = good.first().copied();
    let status = BackupStatus {
        last_committed: newest.and_then(|(_, run)| run.committed_at()).map(api_time),
        consistency_point: newest.and_then(|(_, run)| consistency_point(run)).map(api_time),
        next_due: read.next_due.map(api_time),
        count: i32::try_from(good.len()).ok(),
        oldest: good
            .last()
            .and_then(|(_, run)| consistency_point(run))
            .map(api_time),
        bytes: Some(added(&good)),
        rpo: Some(RpoStatus {
            verdict: rpo_verdict(point.verdict),
            deadline: Some(api_time(point.deadline)),
        }),
        rto: Some(RtoStatus {
            verdict: rto_verdict(time.verdict),
            seconds: time.seconds.map(|seconds| seconds as i64),
            at: time.at.map(api_time),
        }),
        // Of a look that ends in rest alone.
        ledger: None,
    };
    let (pruning, told_at) = pruning(read.state, now);
    let view = BackupView {
        status,
        healthy: healthy(read, problem, || without_slots(org, schedule), pruning.as_deref()),
        rpo: rpo_condition(point.verdict, point.deadline),
    };
    let times = [point.changes_at, told_at, read.trouble.changes_at];
    (view, times.into_iter().flatten().min())
}

/// What the status says while the ledger is not read, and why it is not: what was `known` before (on the board, else what
/// the status has recorded), until its own deadline.
pub fn unread(org: &TrayOrg, known: Option<&BackupView>, blocked: &Blocked, now: Timestamp) -> BackupView {
    let recorded = org.status.as_ref();
    let (mut status, said) = match known {
        Some(view) => (view.status.clone(), Some(view.rpo.clone())),
        None => (
            recorded
                .and_then(|status| status.backup.clone())
                .unwrap_or_default(),
            recorded.and_then(|status| find(&status.conditions, types::RPO_MET).map(ConditionFact::of)),
        ),
    };
    let unknown = || ConditionFact::new(Truth::Unknown, blocked.reason, blocked.message.clone());
    let mut rpo = if deadline(&status).is_some() {
        said.unwrap_or_else(unknown)
    } else {
        status.rpo = Some(RpoStatus {
            verdict: trayorg::RpoVerdict::Unknown,
            deadline: None,
        });
        unknown()
    };
    turn(&mut status, &mut rpo, now);
    status.ledger = status.ledger.map(waking);
    BackupView {
        status,
        healthy: blocked.fact(),
        rpo,
    }
}

/// When RpoMet turns by time alone, as a status has it recorded.
pub fn deadline(status: &BackupStatus) -> Option<Timestamp> {
    Some(status.rpo.as_ref()?.deadline.as_ref()?.0)
}

/// Turns RpoMet at its deadline: whoever keeps a newer good copy from being told of, none counts that nobody has told of.
pub fn turn(status: &mut BackupStatus, rpo: &mut ConditionFact, now: Timestamp) {
    let Some(deadline) = deadline(status).filter(|deadline| now >= *deadline) else {
        return;
    };
    *rpo = rpo_condition(RpoVerdict::Breached, deadline);
    status.rpo = Some(RpoStatus {
        verdict: trayorg::RpoVerdict::Breached,
        deadline: Some(Time(deadline)),
    });
}

fn healthy(
    read: &Read<'_>,
    problem: Option<&ConditionFact>,
    without_slots: impl FnOnce() -> Option<ConditionFact>,
    pruning: Option<&str>,
) -> ConditionFact {
    if let Some(problem) = problem {
        return problem.clone();
    }
    if let Some(loss) = read.losses.first() {
        let message = format!(
            "volume {} lost its data: no run is made until it is restored or given up",
            loss.volume
        );
        return ConditionFact::new(false, reasons::VOLUME_REPLACED, message);
    }
    if let Some(trouble) = &read.trouble.now {
        return trouble.clone();
    }
    let said = without_slots().unwrap_or_else(|| of_runs(read.state));
    let owed = read.trouble.owed.clone().filter(|_| said.status != Truth::False);
    let fact = owed.unwrap_or(said);
    match pruning {
        Some(pruning) => with_pruning(fact, pruning),
        None => fact,
    }
}

/// What the newest run says.
fn of_runs(state: &LedgerState) -> ConditionFact {
    state.newest_ended().map_or_else(
        || ConditionFact::new(Truth::Unknown, reasons::NO_SNAPSHOT_YET, "no run has ended yet"),
        |(id, run)| of_newest(state, id, run),
    )
}

/// What else is wrong keeps its reason, and what there is to do about it comes first.
fn with_pruning(fact: ConditionFact, pruning: &str) -> ConditionFact {
    let ConditionFact {
        status,
        reason,
        message,
    } = fact;
    if status == Truth::False {
        return ConditionFact::new(false, &reason, format!("{message}; {pruning}"));
    }
    ConditionFact::new(false, reasons::PRUNING_FAILED, format!("{pruning}; {message}"))
}

/// Why pruning does not get on, where that is told by now; else when it will be.
fn pruning(state: &LedgerState, now: Timestamp) -> (Option<String>, Option<Timestamp>) {
    let Some(failing) = failing(state) else {
        return (None, None);
    };
    if failing.told_at > now {
        return (None, Some(failing.told_at));
    }
    let message = format!(
        "what was pruned is not removed: a sweep has been due since {}, and the last one ended at {} with {}; it is tried \
         again every hour. The operator's log says what the pruner said",
        whole_seconds(failing.since),
        whole_seconds(failing.failed_at),
        failing.why
    );
    (Some(message), None)
}

fn of_newest(state: &LedgerState, id: &RunId, run: &Run) -> ConditionFact {
    match &run.end {
        Some(RunEnd::Aborted { why, .. }) => {
            let message = format!("run {id} failed: {}", told(why));
            ConditionFact::new(false, reasons::LAST_RUN_FAILED, message)
        }
        Some(RunEnd::Committed { manifest, .. }) if run.is_suspicious() => {
            let message = format!("run {id} {}", does_not_count(state, manifest));
            ConditionFact::new(false, reasons::LAST_RUN_SUSPICIOUS, message)
        }
        _ => {
            let verified = "the newest run is complete and verified".to_owned();
            let kept = leaves_out(state).map(|(run, parts)| left_out(run, &parts));
            ConditionFact::new(true, reasons::LAST_RUN_GOOD, verified + &kept.unwrap_or_default())
        }
    }
}

/// What is wrong with a Suspicious run, and how a person accepts it: after its name, or `it`.
pub fn does_not_count(state: &LedgerState, manifest: &Manifest) -> String {
    let id = &manifest.run_id;
    format!(
        "does not count until a person has looked at it: {}; to accept it, annotate the TrayOrg with {ANNOTATION_ACCEPT_RUN}={id}{}",
        manifest.suspicions.join("; "),
        left_out(id, &lets_go(state, id))
    )
}

/// What is kept since a run leaves it out, and how a person lets it go by accepting that run: all that goes by it is named.
fn left_out(run: &RunId, parts: &[&PartId]) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    format!(
        "; it leaves out folders of {} that older runs hold, which are kept however old they get until the TrayOrg is annotated \
         with {ANNOTATION_ACCEPT_RUN}={run}",
        parts.join(", ")
    )
}

fn rpo_condition(verdict: RpoVerdict, deadline: Timestamp) -> ConditionFact {
    let deadline = whole_seconds(deadline);
    match verdict {
        RpoVerdict::Met => ConditionFact::new(
            true,
            reasons::WITHIN_RPO,
            format!("the newest good copy is recent enough until {deadline}"),
        ),
        RpoVerdict::Unknown => ConditionFact::new(
            Truth::Unknown,
            reasons::NO_SNAPSHOT_YET,
            format!("there is no good copy yet; one is needed by {deadline}"),
        ),
        RpoVerdict::AtRisk => ConditionFact::new(
            true,
            reasons::RPO_AT_RISK,
            format!("a good copy is needed by {deadline}, which is sooner than a run takes"),
        ),
        RpoVerdict::Breached => ConditionFact::new(
            false,
            reasons::RPO_BREACHED,
            format!("a good copy was needed by {deadline}"),
        ),
    }
}

fn rpo_verdict(verdict: RpoVerdict) -> trayorg::RpoVerdict {
    match verdict {
        RpoVerdict::Met => trayorg::RpoVerdict::Met,
        RpoVerdict::AtRisk => trayorg::RpoVerdict::AtRisk,
        RpoVerdict::Breached => trayorg::RpoVerdict::Breached,
        RpoVerdict::Unknown => trayorg::RpoVerdict::Unknown,
    }
}

fn rto_verdict(verdict: RtoVerdict) -> trayorg::RtoVerdict {
    match verdict {
        RtoVerdict::Estimated => trayorg::RtoVerdict::Estimated,
        RtoVerdict::Breached => trayorg::RtoVerdict::Breached,
        RtoVerdict::Unknown => trayorg::RtoVerdict::Unknown,
    }
}

fn consistency_point(run: &Run) -> Option<Timestamp> {
    run.manifest().map(|manifest| manifest.consistency_point)
}

fn added(runs: &[(&RunId, &Run)]) -> i64 {
    runs.iter()
        .filter_map(|(_, run)| run.manifest())
        .map(|manifest| manifest.bytes_added() as i64)
        .sum()
}

fn api_time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use tray_domain::{
        ids::SweepId,
        ledger::{
            Event,
            testing::{Story, org as org_of_stories},
        },
        manifest::{Consistency, RunVerdict},
    };

    const DEADLINE: &str = "2026-01-02T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    /// An org with these conditions and this `status.backup`.
    fn org(conditions: &Value, backup: &Value) -> TrayOrg {
        serde_json::from_value(json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "acme"},
            "spec": {"plan": "Team"}, "status": {"conditions": conditions, "backup": backup},
        }))
        .unwrap()
    }
    fn met() -> Value {
        json!([{"type": "RpoMet", "status": "True", "reason": "WithinRpo", "message": "recent enough",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }
    fn backup() -> Value {
        json!({"count": 3, "rpo": {"verdict": "Met", "deadline": DEADLINE}})
    }
    fn looked(org: &TrayOrg, known: Option<&BackupView>, now: &str) -> BackupView {
        let blocked = Blocked::person(reasons::REGION_NOT_SERVED, "there is no Region");
        unread(org, known, &blocked, at(now))
    }

    #[test]
    fn what_was_known_holds_until_its_deadline_and_not_a_second_longer() {
        let org = org(&met(), &backup());
        for (now, truth, reason, verdict) in [
            (
                "2026-01-01T23:59:59Z",
                Truth::True,
                "WithinRpo",
                trayorg::RpoVerdict::Met,
            ),
            (
                DEADLINE,
                Truth::False,
                "RpoBreached",
                trayorg::RpoVerdict::Breached,
            ),
            (
                "2026-03-01T00:00:00Z",
                Truth::False,
                "RpoBreached",
                trayorg::RpoVerdict::Breached,
            ),
        ] {
            let view = looked(&org, None, now);
            assert_eq!(
                (view.rpo.status, view.rpo.reason.as_str()),
                (truth, reason),
                "{now}"
            );
            assert_eq!(view.status.rpo.as_ref().unwrap().verdict, verdict, "{now}");
            assert_eq!(deadline(&view.status), Some(at(DEADLINE)));
            assert_eq!(view.status.count, Some(3));
            assert_eq!(
                view.healthy,
                ConditionFact::new(false, "RegionNotServed", "there is no Region")
            );
        }
    }

    #[test]
    fn without_a_deadline_nothing_is_known() {
        let view = looked(&org(&met(), &json!({"count": 3})), None, DEADLINE);
        assert_eq!(view.rpo.status, Truth::Unknown);
        assert_eq!(view.status.rpo.unwrap().verdict, trayorg::RpoVerdict::Unknown);
    }

    #[test]
    fn the_board_knows_more_than_the_status() {
        let recorded = org(&met(), &backup());
        let mut newer = looked(&recorded, None, "2026-01-01T00:00:00Z");
        newer.status.count = Some(4);
        newer.status.rpo.as_mut().unwrap().deadline = Some(Time(at("2026-01-03T00:00:00Z")));
        let view = looked(&recorded, Some(&newer), DEADLINE);
        assert_eq!((view.status.count, view.rpo.status), (Some(4), Truth::True));
    }

    #[test]
    fn an_org_whose_ledger_cannot_be_read_does_not_rest() {
        let ledger = json!({"lastEntry": 7, "digest": "d", "restsUntil": DEADLINE, "judgedBy": "j"});
        let rests = org(&met(), &json!({"count": 3, "ledger": ledger}));
        let ledger = looked(&rests, None, "2026-01-01T00:00:00Z")
            .status
            .ledger
            .unwrap();
        assert_eq!(
            (ledger.last_entry, ledger.rests_until, ledger.judged_by),
            (7, None, None)
        );
    }

    #[test]
    fn a_first_copy_that_never_came_is_missed_at_its_deadline() {
        let waits = json!([{"type": "RpoMet", "status": "Unknown", "reason": "NoSnapshotYet", "message": "none yet",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let recorded = json!({"count": 0, "rpo": {"verdict": "Unknown", "deadline": DEADLINE}});
        let org = org(&waits, &recorded);
        assert_eq!(
            looked(&org, None, "2026-01-01T12:00:00Z").rpo.reason,
            "NoSnapshotYet"
        );
        assert_eq!(looked(&org, None, DEADLINE).rpo.reason, "RpoBreached");
    }

    /// What is read off a ledger at that time.
    fn judged(story: &Story, now: &str) -> (BackupView, Option<Timestamp>) {
        judged_with(story, Trouble::default(), now)
    }
    fn judged_with(story: &Story, trouble: Trouble, now: &str) -> (BackupView, Option<Timestamp>) {
        let schedule = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "BackupSchedule",
            "metadata": {"name": "nightly"}, "spec": {"schedule": "0 3 * * *"}});
        let schedule: BackupSchedule = serde_json::from_value(schedule).unwrap();
        let read = Read {
            state: &story.state,
            next_due: None,
            losses: &[],
            trouble,
        };
        judge(
            &org(&json!([]), &json!({})),
            Some(&schedule),
            &read,
            None,
            at(now),
        )
    }
    fn healthy_at(story: &Story, now: &str) -> (Truth, String, String) {
        let fact = judged(story, now).0.healthy;
        (fact.status, fact.reason, fact.message)
    }
    #[test]
    fn what_the_ledger_does_not_say_makes_backups_unhealthy_all_the_same() {
        let mut good = Story::new();
        good.good("2026-01-01T06:00:00Z", 60);
        let mut failed = Story::new();
        failed.aborted("2026-01-01T06:00:00Z", 60);
        let hangs = || Some(ConditionFact::new(false, reasons::HOOK_HANGS, "since noon"));
        let owed = || Some(ConditionFact::new(false, reasons::HOOK_FAILED, "exit code 3"));
        for (story, now, owed, reason) in [
            (&good, None, None, reasons::LAST_RUN_GOOD),
            (&good, hangs(), None, reasons::HOOK_HANGS),
            (&good, hangs(), owed(), reasons::HOOK_HANGS),
            (&good, None, owed(), reasons::HOOK_FAILED),
            // What it failed by stays in front.
            (&failed, None, owed(), reasons::LAST_RUN_FAILED),
            (&failed, hangs(), None, reasons::HOOK_HANGS),
        ] {
            let later = at("2026-01-01T13:00:00Z");
            let trouble = Trouble {
                now,
                owed,
                changes_at: Some(later),
            };
            let (view, changes_at) = judged_with(story, trouble, "2026-01-01T12:00:00Z");
            assert_eq!(view.healthy.reason, reason);
            assert_eq!(changes_at, Some(later));
        }
    }

    #[test]
    fn sweeps_that_fail_for_a_day_are_told_of_with_code_and_time() {
        let mut story = Story::new();
        story.aborted("2026-01-01T00:00:00Z", 60);
        story.good("2026-01-01T06:00:00Z", 60);
        let sweep_id = SweepId::of(at("2026-01-01T07:00:00Z"), &org_of_stories());
        let planned = Event::sweep_planned(sweep_id.clone());
        story.tell(planned, at("2026-01-01T07:00:00Z"));
        let failed = Some("BucketFailed".to_owned());
        story.tell(Event::SweepEnded { sweep_id, failed }, at("2026-01-01T08:30:00Z"));
        let (view, changes_at) = judged(&story, "2026-01-02T00:00:59Z");
        assert_eq!(view.healthy.reason, reasons::LAST_RUN_GOOD);
        assert_eq!(changes_at, Some(at("2026-01-02T00:01:00Z")));
        let (truth, reason, message) = healthy_at(&story, "2026-01-02T00:01:00Z");
        assert_eq!((truth, reason.as_str()), (Truth::False, reasons::PRUNING_FAILED));
        for part in ["BucketFailed", "2026-01-01T08:30:00Z"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        // What a person has to look at first stays in front.
        story.suspicious("2026-01-02T01:00:00Z", 60);
        let (_, reason, message) = healthy_at(&story, "2026-01-02T02:00:00Z");
        assert_eq!(reason, reasons::LAST_RUN_SUSPICIOUS);
        assert!(
            message.contains("accept-run") && message.contains("BucketFailed"),
            "{message}"
        );
    }

    /// A run of `db`, of these folders and so many files, and of all of `web`.
    fn copied(story: &mut Story, on: &str, db: (&str, u64), web: u64, verdict: RunVerdict) -> RunId {
        let folders: Vec<String> = db.0.split_whitespace().map(str::to_owned).collect();
        let all: [String; 0] = [];
        let volumes = [
            ("data-db-0", db.1, Consistency::Live, &folders[..]),
            ("data-web-0", web, Consistency::Live, &all[..]),
        ];
        story.copied(at(on), &volumes, verdict)
    }

    #[test]
    fn the_message_of_a_suspicious_run_tells_exactly_what_is_given_up_by_accepting_it() {
        let noon = "2026-01-04T12:00:00Z";
        for (db, web, told) in [
            // Only `web` looks wrong: nothing of `db` goes, though its folders are fewer.
            (("backup", 9), 0, None),
            (
                ("backup", 1),
                10,
                Some("folders of data-db-0 that older runs hold"),
            ),
            (
                ("backup", 1),
                0,
                Some("folders of data-db-0 that older runs hold"),
            ),
            // It is whole: what it leaves out is no folder.
            (("", 1), 10, None),
        ] {
            let mut story = Story::new();
            copied(&mut story, "2026-01-01T00:00:00Z", ("", 10), 10, RunVerdict::Good);
            copied(
                &mut story,
                "2026-01-02T00:00:00Z",
                ("backup", 9),
                10,
                RunVerdict::Good,
            );
            let run_id = copied(
                &mut story,
                "2026-01-03T00:00:00Z",
                db,
                web,
                RunVerdict::Suspicious,
            );
            let (_, reason, message) = healthy_at(&story, noon);
            assert_eq!(reason, reasons::LAST_RUN_SUSPICIOUS);
            assert!(message.contains(&format!("accept-run={run_id}")), "{message}");
            let found = message.split_once("it leaves out ").map(|(_, rest)| rest);
            assert_eq!(found.is_some(), told.is_some(), "{message}");
            assert!(
                found.is_none_or(|found| found.starts_with(told.unwrap())),
                "{message}"
            );
        }
    }
}
