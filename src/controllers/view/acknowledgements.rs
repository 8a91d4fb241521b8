//! What a person has accepted by annotations of a TrayOrg, and which values of them were looked at before. The annotations are
//! never changed here: they may lie in Git. So what was looked at outlives the TrayOrg, on its tombstone: one that is applied again
//! with an old value must not accept the next loss by that.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::trayorg::{Acknowledgement, AcknowledgementResult, MOST_ACKNOWLEDGEMENTS, TrayOrg};
use tray_domain::{acknowledgement::next_value, names};

use super::org::OrgView;
use crate::controllers::conditions::whole_seconds;

/// Annotations by which a person decides something of backups.
pub const OF_BACKUPS: [&str; 3] = [
    names::ANNOTATION_ACCEPT_RUN,
    names::ANNOTATION_ACCEPT_LEDGER_LOSS,
    names::ANNOTATION_ACCEPT_DATA_LOSS,
];

/// So much of a value is remembered, and looked at.
const LONGEST: usize = 253;

/// The value of an annotation that was not looked at before.
pub fn asked<'a>(view: &'a OrgView, annotation: &str) -> Option<&'a str> {
    let value = shortened(view.org.annotations().get(annotation)?);
    looked_at(view, annotation)
        .all(|known| known != value)
        .then_some(value)
}

/// A value of the annotation by which a person accepts `what`, though he may have done so before.
pub fn offered(view: &OrgView, annotation: &str, what: &str) -> String {
    next_value(what, looked_at(view, annotation))
}

/// All that was looked at, the newest last.
pub fn known(view: &OrgView) -> Vec<Acknowledgement> {
    carried_over(view, recorded(&view.org))
}

/// What a status has of it, and what was looked at before the org's last deletion.
pub fn carried_over(view: &OrgView, recorded: &[Acknowledgement]) -> Vec<Acknowledgement> {
    let is_old = |of_before: &&Acknowledgement| {
        let same = |known: &Acknowledgement| {
            known.annotation == of_before.annotation && known.value == of_before.value
        };
        !recorded.iter().any(same)
    };
    let before = of_before(view).iter().filter(is_old);
    newest(before.chain(recorded).cloned().collect())
}

/// What a status remembers when this value was looked at.
pub fn with(
    known: &[Acknowledgement],
    annotation: &str,
    value: &str,
    result: AcknowledgementResult,
    now: Timestamp,
) -> Vec<Acknowledgement> {
    let new = Acknowledgement {
        annotation: short(annotation).to_owned(),
        value: shortened(value).to_owned(),
        result,
        at: Time(whole_seconds(now)),
    };
    let mut all = known.to_vec();
    all.retain(|known| known.annotation != new.annotation || known.value != new.value);
    all.push(new);
    newest(all)
}

fn newest(mut all: Vec<Acknowledgement>) -> Vec<Acknowledgement> {
    let surplus = all.len().saturating_sub(MOST_ACKNOWLEDGEMENTS);
    all.split_off(surplus)
}

fn looked_at<'a>(view: &'a OrgView, annotation: &str) -> impl Iterator<Item = &'a str> + Clone {
    let annotation = short(annotation).to_owned();
    let known = recorded(&view.org).iter().chain(of_before(view));
    known
        .filter(move |known| known.annotation == annotation)
        .map(|known| known.value.as_str())
}

fn recorded(org: &TrayOrg) -> &[Acknowledgement] {
    let status = org.status.as_ref();
    status.map_or(&[][..], |status| &status.acknowledgements)
}

/// What was looked at before the deletion after which the org is back.
fn of_before(view: &OrgView) -> &[Acknowledgement] {
    let tombstone = view.own_tombstone();
    tombstone.map_or(&[][..], |tombstone| &tombstone.spec.acknowledgements)
}

fn short(annotation: &str) -> &str {
    let name = annotation.strip_prefix(names::GROUP);
    name.and_then(|name| name.strip_prefix('/')).unwrap_or(annotation)
}

fn shortened(value: &str) -> &str {
    let end = value
        .char_indices()
        .nth(LONGEST)
        .map_or(value.len(), |(end, _)| end);
    &value[..end]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        adapters::kube::index::Index,
        controllers::{board::Board, changes::Changes, view::org::Sources},
    };

    const LOSS: &str = names::ANNOTATION_ACCEPT_DATA_LOSS;
    const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    fn org(annotation: &str, value: &str, known: &[Acknowledgement]) -> OrgView {
        org_with_tombstone(annotation, value, known, &[])
    }
    fn org_with_tombstone(
        annotation: &str,
        value: &str,
        known: &[Acknowledgement],
        before: &[Acknowledgement],
    ) -> OrgView {
        let index = Arc::new(Index::default());
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg",
            "metadata": {"name": "acme", "uid": ID, "annotations": {annotation: value}},
            "spec": {"plan": "Team", "orgId": ID}, "status": {"orgId": ID, "acknowledgements": known},
        });
        index.orgs.put(serde_json::from_value(org).unwrap());
        let tombstone = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgTombstone", "metadata": {"name": "acme-7c9e6679", "uid": "t"},
            "spec": {"org": "acme", "orgId": ID, "namespace": "org-acme-7c9e6679", "reason": "Deletion",
                "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"}, "acknowledgements": before,
                "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-04-01T00:00:00Z",
                "erasureStartsAt": "2026-03-23T00:00:00Z"},
        });
        index.tombstones.put(serde_json::from_value(tombstone).unwrap());
        let sources = Sources {
            index: &index,
            board: &Board::new(Arc::new(Changes::new(index.clone()))),
            support_groups: &[],
            now: now(),
        };
        OrgView::of(index.orgs.get("acme").unwrap(), &sources)
    }
    fn now() -> Timestamp {
        "2026-01-01T00:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn the_same_value_is_looked_at_once_and_a_new_one_again() {
        let fresh = org(LOSS, "data-db-0", &[]);
        assert_eq!(asked(&fresh, LOSS), Some("data-db-0"));
        assert_eq!(asked(&fresh, names::ANNOTATION_ACCEPT_RUN), None);
        for result in [AcknowledgementResult::CarriedOut, AcknowledgementResult::Refused] {
            let known = with(&[], LOSS, "data-db-0", result, now());
            assert_eq!(known[0].annotation, "accept-data-loss");
            assert_eq!(asked(&org(LOSS, "data-db-0", &known), LOSS), None, "{result:?}");
            assert_eq!(
                asked(&org(LOSS, "data-db-0/2", &known), LOSS),
                Some("data-db-0/2")
            );
            let other = names::ANNOTATION_ACCEPT_RUN;
            assert_eq!(asked(&org(other, "data-db-0", &known), other), Some("data-db-0"));
            assert_eq!(
                offered(&org(LOSS, "data-db-0", &known), LOSS, "data-db-0"),
                "data-db-0/2"
            );
        }
    }

    /// It lies in Git, and the TrayOrg was deleted and applied again.
    #[test]
    fn what_was_looked_at_before_a_deletion_is_not_carried_out_after_it() {
        let result = AcknowledgementResult::CarriedOut;
        let before = with(&[], LOSS, "data-db-0", result, now());
        let back = |value, known: &[Acknowledgement]| org_with_tombstone(LOSS, value, known, &before);
        assert_eq!(asked(&back("data-db-0", &[]), LOSS), None);
        assert_eq!(asked(&back("data-web-0", &[]), LOSS), Some("data-web-0"));
        assert_eq!(offered(&back("x", &[]), LOSS, "data-db-0"), "data-db-0/2");
        // The status has it from then on, each value once.
        let since = with(&[], LOSS, "data-web-0", result, now());
        let all = known(&back("x", &since));
        let values: Vec<&str> = all.iter().map(|known| known.value.as_str()).collect();
        assert_eq!(values, ["data-db-0", "data-web-0"]);
        assert_eq!(known(&back("x", &all)), all);
    }

    #[test]
    fn the_newest_values_are_remembered_and_each_once() {
        let mut known = Vec::new();
        for number in 0..100 {
            let value = format!("v{number}");
            known = with(&known, LOSS, &value, AcknowledgementResult::Refused, now());
            known = with(&known, LOSS, &value, AcknowledgementResult::CarriedOut, now());
        }
        assert_eq!(known.len(), MOST_ACKNOWLEDGEMENTS);
        assert_eq!(
            (known[0].value.as_str(), known[39].value.as_str()),
            ("v60", "v99")
        );
        assert!(
            known
                .iter()
                .all(|known| known.result == AcknowledgementResult::CarriedOut)
        );
        let long = "ä".repeat(300);
        let known = with(&[], LOSS, &long, AcknowledgementResult::Refused, now());
        assert_eq!(known[0].value.chars().count(), 253);
        assert_eq!(asked(&org(LOSS, &long, &known), LOSS), None);
    }
}
