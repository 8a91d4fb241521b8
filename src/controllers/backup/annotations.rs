//! What a person decides by an annotation of the TrayOrg: a run that looked wrong is right, a lost volume may be forgotten,
//! or a lost ledger.

use jiff::Timestamp;
use tray_api::trayorg::{AcknowledgementResult, TrayOrgStatus};
use tray_domain::{
    acknowledgement::{accepts, of_accepted},
    ids::RunId,
    ledger::{Event, LedgerState, Run},
    names,
    retention::leaves_out,
    volume_facts::Loss,
};

use super::pass::Pass;
use crate::{
    adapters::kube::events::Severity,
    controllers::{
        Blocked,
        board::{LostClaim, LostClaims},
        view::acknowledgements::{OF_BACKUPS, asked, carried_over, with},
    },
};

/// Carries out what annotations accept whose value was not looked at before. What cannot be carried out is refused for good: it
/// must not be carried out later, when it means something else.
pub(super) async fn carry_out(pass: &Pass<'_>, losses: &[Loss]) -> Result<(), Blocked> {
    let mut looked_at = Vec::new();
    for annotation in OF_BACKUPS {
        let Some(value) = asked(pass.subject.view, annotation) else {
            continue;
        };
        let decision = decision(
            &pass.state(),
            losses,
            &pass.subject.location.bucket,
            annotation,
            value,
        );
        looked_at.push((annotation, value, decide(pass, annotation, decision).await?));
    }
    if looked_at.is_empty() {
        return Ok(());
    }
    // As it is now: the TrayOrg controller may have written since the pass began.
    let newest = pass.ctx.index.orgs.get(pass.subject.name());
    let org = newest.as_deref().unwrap_or(pass.subject.org());
    let mut recorded = org.status.clone().unwrap_or_default();
    recorded.acknowledgements = carried_over(pass.subject.view, &recorded.acknowledgements);
    let status = remembering(recorded, &looked_at, pass.now);
    pass.ctx
        .cluster
        .write_status(org, org.status.as_ref(), &status)
        .await?;
    Ok(())
}

/// What the status remembers of what was looked at. A ledger that was given up is not looked for again.
fn remembering(
    mut status: TrayOrgStatus,
    looked_at: &[(&str, &str, AcknowledgementResult)],
    now: Timestamp,
) -> TrayOrgStatus {
    for (annotation, value, result) in looked_at {
        status.acknowledgements = with(&status.acknowledgements, annotation, value, *result, now);
        let is_given_up = *annotation == names::ANNOTATION_ACCEPT_LEDGER_LOSS
            && *result == AcknowledgementResult::CarriedOut;
        if let Some(backup) = status.backup.as_mut().filter(|_| is_given_up) {
            backup.ledger = None;
        }
    }
    status
}

/// What a value asks for: an entry, or nothing where it was carried out before. An error is why it is refused.
fn decision(
    state: &LedgerState,
    losses: &[Loss],
    bucket: &str,
    annotation: &str,
    value: &str,
) -> Result<Option<Event>, String> {
    match annotation {
        names::ANNOTATION_ACCEPT_RUN => accepted_run(state, value),
        // The ledger is open: there was one, or a new one was begun for it.
        names::ANNOTATION_ACCEPT_LEDGER_LOSS if accepts(value, bucket) => Ok(None),
        names::ANNOTATION_ACCEPT_LEDGER_LOSS => Err(format!(
            "{value} is not the bucket of the org's backups: {bucket}"
        )),
        _ => accepted_loss(losses, value).map(Some),
    }
}

/// A run that looked wrong, or one that leaves out folders which older copies are kept for. What was accepted is not acceptable
/// any more.
fn accepted_run(state: &LedgerState, value: &str) -> Result<Option<Event>, String> {
    let wanted: Option<RunId> = value.parse().ok();
    let suspicious = state
        .runs
        .iter()
        .filter(|(_, run)| run.is_suspicious())
        .map(|(id, _)| id);
    let narrower = leaves_out(state).map(|(id, _)| id);
    let mut acceptable = suspicious.chain(narrower);
    let known: Vec<&str> = acceptable.clone().map(RunId::as_str).collect();
    if let Some(found) = acceptable.find(|id| Some(*id) == wanted.as_ref()) {
        return Ok(Some(Event::RunAccepted {
            run_id: found.clone(),
        }));
    }
    if wanted.is_some_and(|wanted| state.runs.get(&wanted).is_some_and(Run::is_accepted)) {
        return Ok(None);
    }
    Err(format!(
        "{value} is no run of this org that has to be accepted; those are: {}",
        listed(&known)
    ))
}

/// A volume, or one and the beginning of the UID of its claim that is lost: that means no later loss of it.
fn accepted_loss(losses: &[Loss], value: &str) -> Result<Event, String> {
    let means = |loss: &&Loss| match of_accepted(value, loss.volume.as_str()) {
        Some(uid) => !uid.is_empty() && loss.lost_uid.starts_with(uid),
        None => value == loss.volume.as_str(),
    };
    let found = losses.iter().find(means);
    let known: Vec<&str> = losses.iter().map(|loss| loss.volume.as_str()).collect();
    let loss = found.ok_or_else(|| {
        format!(
            "{value} has not lost its data; volumes that have: {}",
            listed(&known)
        )
    })?;
    // An empty uid: whatever claim there will be starts anew.
    let claim_uid = loss.present_uid.clone().unwrap_or_default();
    Ok(Event::LossAccepted {
        volume: loss.volume.clone(),
        claim_uid,
    })
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Returns what the status is to remember.
async fn decide(
    pass: &Pass<'_>,
    annotation: &str,
    decision: Result<Option<Event>, String>,
) -> Result<AcknowledgementResult, Blocked> {
    match decision {
        Ok(event) => {
            if let Some(event) = event {
                pass.ledger.append(event, pass.now).await?;
            }
            Ok(AcknowledgementResult::CarriedOut)
        }
        Err(why) => {
            let note = format!("annotation {annotation}: {why}");
            pass.ctx
                .events
                .publish(
                    pass.subject.org(),
                    Severity::Warning,
                    "AnnotationRefused",
                    "Accept",
                    note,
                )
                .await;
            Ok(AcknowledgementResult::Refused)
        }
    }
}

/// The volumes with what the TrayOrg's condition DataLost says of each.
pub(super) fn told(losses: &[Loss]) -> LostClaims {
    let told = losses.iter().map(|loss| {
        let lost = LostClaim {
            why: message(loss),
            lost_uid: loss.lost_uid.clone(),
        };
        (loss.volume.to_string(), lost)
    });
    told.collect()
}

fn message(loss: &Loss) -> String {
    match &loss.present_uid {
        Some(present) => format!(
            "its claim {} held data and was replaced by {present}",
            loss.lost_uid
        ),
        None => format!("its claim {} held data and is gone", loss.lost_uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tray_domain::{
        ledger::testing::Story,
        manifest::{Consistency, RunVerdict},
    };

    #[test]
    fn only_a_suspicious_run_can_be_accepted() {
        let mut story = Story::new();
        let good = story.good("2026-01-01T00:00:00Z", 60);
        let suspicious = story.suspicious("2026-01-02T00:00:00Z", 60);
        assert_eq!(
            accepted_run(&story.state, suspicious.as_str()),
            Ok(Some(Event::RunAccepted {
                run_id: suspicious.clone()
            }))
        );
        let refused = accepted_run(&story.state, good.as_str()).unwrap_err();
        assert!(refused.contains(suspicious.as_str()), "{refused}");
        assert!(accepted_run(&story.state, "all of them").is_err());
    }

    #[test]
    fn a_suspicious_run_is_accepted_once_and_not_for_what_else_it_leaves_out() {
        let mut story = Story::new();
        let run = |story: &mut Story, at: &str, folder: Option<&str>, web: u64, verdict| {
            let folders: Vec<String> = folder.into_iter().map(str::to_owned).collect();
            let all: [String; 0] = [];
            let volumes = [
                ("data-db-0", 10, Consistency::Live, &folders[..]),
                ("data-web-0", web, Consistency::Live, &all[..]),
            ];
            story.copied(at.parse().unwrap(), &volumes, verdict)
        };
        run(&mut story, "2026-01-01T00:00:00Z", None, 10, RunVerdict::Good);
        let (narrow, at) = (Some("backup"), "2026-01-02T00:00:00Z");
        let emptied = run(&mut story, at, narrow, 0, RunVerdict::Suspicious);
        let accepted = accepted_run(&story.state, emptied.as_str()).unwrap();
        story.tell(accepted.unwrap(), at.parse().unwrap());
        assert_eq!(
            accepted_run(&story.state, emptied.as_str()),
            Ok(None),
            "as if once"
        );
        let next = run(&mut story, "2026-01-03T00:00:00Z", narrow, 0, RunVerdict::Good);
        let run_id = next.clone();
        assert_eq!(
            accepted_run(&story.state, next.as_str()),
            Ok(Some(Event::RunAccepted { run_id }))
        );
    }

    #[test]
    fn what_was_seen_of_a_ledger_that_was_given_up_is_forgotten_at_once() {
        let recorded: TrayOrgStatus = serde_json::from_value(json!({"backup": {"count": 1,
            "ledger": {"lastEntry": 7, "digest": "d"}}}))
        .unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for (annotation, result, is_known) in [
            (
                names::ANNOTATION_ACCEPT_LEDGER_LOSS,
                AcknowledgementResult::CarriedOut,
                false,
            ),
            (
                names::ANNOTATION_ACCEPT_LEDGER_LOSS,
                AcknowledgementResult::Refused,
                true,
            ),
            (
                names::ANNOTATION_ACCEPT_RUN,
                AcknowledgementResult::CarriedOut,
                true,
            ),
        ] {
            let status = remembering(recorded.clone(), &[(annotation, "x", result)], now);
            assert_eq!(
                status.backup.unwrap().ledger.is_some(),
                is_known,
                "{annotation} {result:?}"
            );
            assert_eq!(status.acknowledgements.len(), 1);
        }
    }

    #[test]
    fn the_loss_of_a_ledger_is_accepted_by_its_bucket_alone() {
        let state = LedgerState::default();
        let decided = |value| decision(&state, &[], "bucket", names::ANNOTATION_ACCEPT_LEDGER_LOSS, value);
        assert_eq!(decided("bucket"), Ok(None));
        assert_eq!(decided("bucket/2"), Ok(None));
        assert!(decided("another").unwrap_err().ends_with("bucket"));
    }

    #[test]
    fn only_a_lost_volume_can_be_given_up() {
        let loss = Loss {
            volume: "data-db-0".parse().unwrap(),
            lost_uid: "1f3c-old".into(),
            present_uid: Some("new".into()),
        };
        for (value, is_accepted) in [
            ("data-db-0", true),
            ("data-db-0/1f3c", true),
            ("data-db-0/1f3c-old", true),
            // Of an earlier loss.
            ("data-db-0/77aa", false),
            ("data-db-0/", false),
            ("data-db-0/1f3c-older", false),
            ("data-db", false),
        ] {
            let accepted = accepted_loss(std::slice::from_ref(&loss), value).ok();
            let event = Event::LossAccepted {
                volume: loss.volume.clone(),
                claim_uid: "new".into(),
            };
            assert_eq!(accepted, is_accepted.then_some(event), "{value}");
        }
        assert!(
            accepted_loss(&[loss], "data-web-0")
                .unwrap_err()
                .ends_with("data-db-0")
        );
        assert!(accepted_loss(&[], "data-web-0").unwrap_err().ends_with("none"));
    }
}
