//! What a person has accepted by annotations of a TrayOrg, and which values of them were looked at before. The annotations are
//! never changed here: they may lie in Git.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::trayorg::{Acknowledgement, AcknowledgementResult, MOST_ACKNOWLEDGEMENTS, TrayOrg};
use tray_domain::{acknowledgement::next_value, names};

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
pub fn asked<'a>(org: &'a TrayOrg, annotation: &str) -> Option<&'a str> {
    let value = shortened(org.annotations().get(annotation)?);
    looked_at(org, annotation)
        .all(|known| known != value)
        .then_some(value)
}

/// A value of the annotation by which a person accepts `what`, though he may have done so before.
pub fn offered(org: &TrayOrg, annotation: &str, what: &str) -> String {
    next_value(what, looked_at(org, annotation))
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
    let surplus = all.len().saturating_sub(MOST_ACKNOWLEDGEMENTS);
    all.split_off(surplus)
}

fn looked_at<'a>(org: &'a TrayOrg, annotation: &str) -> impl Iterator<Item = &'a str> + Clone {
    let annotation = short(annotation).to_owned();
    let known = org.status.iter().flat_map(|status| &status.acknowledgements);
    known
        .filter(move |known| known.annotation == annotation)
        .map(|known| known.value.as_str())
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
    use serde_json::json;

    use super::*;

    const LOSS: &str = names::ANNOTATION_ACCEPT_DATA_LOSS;

    fn org(annotation: &str, value: &str, known: &[Acknowledgement]) -> TrayOrg {
        serde_json::from_value(json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg",
            "metadata": {"name": "acme", "annotations": {annotation: value}},
            "spec": {"plan": "Team"}, "status": {"acknowledgements": known},
        }))
        .unwrap()
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
