//! What a person decides by an annotation of the TrayOrg: a run that looked wrong is right, a lost volume may be forgotten,
//! or a lost ledger.

use kube::ResourceExt;
use tray_domain::{
    ids::RunId,
    ledger::{Event, LedgerState},
    names,
    retention::leaves_out,
    volume_facts::Loss,
};

use super::pass::Pass;
use crate::{adapters::kube::events::Severity, controllers::Blocked};

/// Carries out annotations and takes them away, so that each is done once.
pub(super) async fn carry_out(pass: &Pass<'_>, losses: &[Loss]) -> Result<(), Blocked> {
    let annotation = |name: &str| pass.subject.org().annotations().get(name).cloned();
    if let Some(value) = annotation(names::ANNOTATION_ACCEPT_RUN) {
        let event = accepted_run(&pass.state(), &value);
        decide(pass, names::ANNOTATION_ACCEPT_RUN, event).await?;
    }
    if annotation(names::ANNOTATION_ACCEPT_LEDGER_LOSS).is_some() {
        // The ledger is open: there was one, or a new one was begun for it.
        let accepted = names::ANNOTATION_ACCEPT_LEDGER_LOSS;
        pass.ctx
            .cluster
            .set_annotation(pass.subject.org(), accepted, None)
            .await?;
    }
    if let Some(value) = annotation(names::ANNOTATION_ACCEPT_DATA_LOSS) {
        decide(
            pass,
            names::ANNOTATION_ACCEPT_DATA_LOSS,
            accepted_loss(losses, &value),
        )
        .await?;
    }
    Ok(())
}

/// A run that looked wrong, or one that leaves out folders which older copies are kept for. Carried out twice it is as if once:
/// what was accepted is not acceptable any more.
fn accepted_run(state: &LedgerState, value: &str) -> Result<Event, String> {
    let suspicious = state
        .runs
        .iter()
        .filter(|(_, run)| run.is_suspicious())
        .map(|(id, _)| id);
    let narrower = leaves_out(state).map(|(id, _)| id);
    let mut acceptable = suspicious.chain(narrower);
    let known: Vec<&str> = acceptable.clone().map(RunId::as_str).collect();
    let found = acceptable.find(|id| value.parse::<RunId>().is_ok_and(|wanted| wanted == **id));
    found
        .map(|id| Event::RunAccepted { run_id: id.clone() })
        .ok_or_else(|| {
            format!(
                "{value} is no run of this org that has to be accepted; those are: {}",
                listed(&known)
            )
        })
}

fn accepted_loss(losses: &[Loss], value: &str) -> Result<Event, String> {
    let found = losses.iter().find(|loss| loss.volume.as_str() == value);
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

async fn decide(pass: &Pass<'_>, annotation: &str, event: Result<Event, String>) -> Result<(), Blocked> {
    match event {
        Ok(event) => {
            pass.ledger.append(event, pass.now).await?;
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
        }
    }
    pass.ctx
        .cluster
        .set_annotation(pass.subject.org(), annotation, None)
        .await?;
    Ok(())
}

/// The volumes with a message each, for the TrayOrg's condition DataLost.
pub(super) fn messages(losses: &[Loss]) -> std::collections::BTreeMap<String, String> {
    losses
        .iter()
        .map(|loss| (loss.volume.to_string(), message(loss)))
        .collect()
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
            Ok(Event::RunAccepted {
                run_id: suspicious.clone()
            })
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
        story.tell(accepted, at.parse().unwrap());
        let again = accepted_run(&story.state, emptied.as_str()).unwrap_err();
        assert!(again.ends_with("none"), "{again}");
        let next = run(&mut story, "2026-01-03T00:00:00Z", narrow, 0, RunVerdict::Good);
        let run_id = next.clone();
        assert_eq!(
            accepted_run(&story.state, next.as_str()),
            Ok(Event::RunAccepted { run_id })
        );
    }

    #[test]
    fn only_a_lost_volume_can_be_given_up() {
        let loss = Loss {
            volume: "data-db-0".parse().unwrap(),
            lost_uid: "old".into(),
            present_uid: Some("new".into()),
        };
        let accepted = accepted_loss(std::slice::from_ref(&loss), "data-db-0");
        assert_eq!(
            accepted,
            Ok(Event::LossAccepted {
                volume: loss.volume.clone(),
                claim_uid: "new".into()
            })
        );
        assert!(
            accepted_loss(&[loss], "data-web-0")
                .unwrap_err()
                .ends_with("data-db-0")
        );
        assert!(accepted_loss(&[], "data-web-0").unwrap_err().ends_with("none"));
    }
}
