//! What of a Region's orgs was found elsewhere, added up from what their statuses say. Pure.

use tray_api::trayorg::TrayOrg;

use crate::telemetry::metrics::{Metrics, Violation};

/// By kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations {
    pods: i32,
    volumes: i32,
    backup: i32,
}

impl Violations {
    /// Of these orgs, and of a backup location that lies elsewhere or does not.
    pub(super) fn count(orgs: &[&TrayOrg], backup: bool) -> Self {
        let mut violations = Self {
            backup: i32::from(backup),
            ..Self::default()
        };
        let placements = orgs
            .iter()
            .filter_map(|org| org.status.as_ref()?.placement.as_ref());
        for placement in placements {
            violations.pods += placement.pods_outside.unwrap_or_default();
            violations.volumes += placement.volumes_outside.unwrap_or_default();
        }
        violations
    }

    /// All of them.
    pub(super) fn total(self) -> i32 {
        self.pods + self.volumes + self.backup
    }

    /// Shows them: a kind of which there are none, too, so that an alert has something to look at.
    pub(super) fn measure(self, metrics: &Metrics, region: &str) {
        for (kind, number) in [
            ("pod", self.pods),
            ("volume", self.volumes),
            ("backup", self.backup),
        ] {
            let labels = Violation {
                region: region.to_owned(),
                kind,
            };
            metrics.violations.get_or_create(&labels).set(number.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn org(placement: &serde_json::Value) -> TrayOrg {
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "acme"},
            "spec": {"plan": "Pro"}, "status": {"placement": placement},
        });
        serde_json::from_value(org).unwrap()
    }

    #[test]
    fn p1_violations_of_all_orgs_are_added_up_and_shown_by_kind() {
        let orgs = [
            org(&json!({"podsOutside": 2, "volumesOutside": 1})),
            org(&json!({"podsOutside": 1})),
            org(&json!(null)),
        ];
        let found = Violations::count(&orgs.iter().collect::<Vec<_>>(), true);
        assert_eq!(found.total(), 5);
        assert_eq!(Violations::count(&[], false).total(), 0);
        let metrics = Metrics::default();
        found.measure(&metrics, "eu");
        let text = metrics.render().unwrap();
        for (kind, number) in [("pod", 3), ("volume", 1), ("backup", 1)] {
            let line = format!("tray_residency_violations{{region=\"eu\",kind=\"{kind}\"}} {number}");
            assert!(text.contains(&line), "{text}");
        }
    }
}
