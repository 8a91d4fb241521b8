//! For how long an org's execution logs can be seen and are kept, and the ConfigMap that tells its workloads.

use serde_json::json;
use tray_api::{
    retention_policy::RetentionPolicySpec,
    trayorg::{AddOn, ExecutionLogsStatus, LogHoursSource, LogMode, Plan, TrayOrgSpec},
};

use super::Placement;
use crate::resources::child::{ChildKind, DesiredChild};

/// Name of the ConfigMap.
pub const EXECUTION_LOG_POLICY: &str = "execution-log-policy";

/// Hours for which run data is kept that nobody sees, so that the platform can try runs again (P12).
const HIDDEN_HOURS: i32 = 24;

/// What the org's plan and the org itself ask for, from the end of a run. An org may have less than its plan gives (P11),
/// never more (P10).
pub fn wanted(org: &TrayOrgSpec, policy: &RetentionPolicySpec) -> ExecutionLogsStatus {
    if org.execution_logs.mode == LogMode::Hidden {
        return ExecutionLogsStatus {
            visible_hours: 0,
            kept_hours: HIDDEN_HOURS,
            source: LogHoursSource::Hidden,
        };
    }
    let (given, source) = given(org, policy);
    let (hours, source) = match org.execution_logs.retention_hours {
        Some(asked) if asked < given => (asked, LogHoursSource::Org),
        _ => (given, source),
    };
    ExecutionLogsStatus {
        visible_hours: hours,
        kept_hours: hours,
        source,
    }
}

fn given(org: &TrayOrgSpec, policy: &RetentionPolicySpec) -> (i32, LogHoursSource) {
    let hours = &policy.execution_logs;
    match org.plan {
        Plan::Pro => (hours.pro_hours, LogHoursSource::Plan),
        Plan::Team if org.add_ons.contains(&AddOn::ExtendedLogRetention) => {
            (hours.team_extended_hours, LogHoursSource::AddOn)
        }
        Plan::Team => (hours.team_hours, LogHoursSource::Plan),
        Plan::Enterprise => (hours.enterprise_hours, LogHoursSource::Plan),
    }
}

/// Whether anybody may read the org's logs: nobody from the moment on in which its spec hides them, and as long as what is
/// in force does.
pub fn mode(org: &TrayOrgSpec, in_force: Option<&ExecutionLogsStatus>) -> LogMode {
    let is_hidden = in_force.is_some_and(|hours| hours.visible_hours == 0);
    if is_hidden || org.execution_logs.mode == LogMode::Hidden {
        LogMode::Hidden
    } else {
        LogMode::Visible
    }
}

/// What the org's workloads are told.
pub fn config_map(placement: &Placement, hours: &ExecutionLogsStatus) -> DesiredChild {
    let mode = if hours.visible_hours == 0 {
        LogMode::Hidden
    } else {
        LogMode::Visible
    };
    let body = json!({
        "metadata": {"labels": placement.labels()},
        "data": {
            "mode": mode,
            "visibleHours": hours.visible_hours.to_string(),
            "keptHours": hours.kept_hours.to_string(),
        },
        "binaryData": null,
        "immutable": null,
    });
    DesiredChild::new(
        ChildKind::ConfigMap,
        placement.namespace.clone(),
        EXECUTION_LOG_POLICY,
        body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;

    fn hours(org: &str, policy: &str) -> (i32, i32, LogHoursSource) {
        let org: TrayOrgSpec = serde_yaml::from_str(org).unwrap();
        let policy: RetentionPolicySpec = serde_yaml::from_str(policy).unwrap();
        let wanted = wanted(&org, &policy);
        (wanted.visible_hours, wanted.kept_hours, wanted.source)
    }

    #[test]
    fn p10_logs_are_kept_by_plan() {
        use LogHoursSource::{AddOn, Plan};
        for (org, hours_of_plan, source) in [
            ("{plan: Pro}", 168, Plan),
            ("{plan: Team}", 168, Plan),
            ("{plan: Team, addOns: [ExtendedLogRetention]}", 720, AddOn),
            ("{plan: Enterprise}", 720, Plan),
        ] {
            assert_eq!(hours(org, "{}"), (hours_of_plan, hours_of_plan, source), "{org}");
        }
        let own = "{executionLogs: {enterpriseHours: 300}}";
        assert_eq!(hours("{plan: Enterprise}", own), (300, 300, Plan));
        assert_eq!(hours("{plan: Pro}", own), (168, 168, Plan));
    }

    #[test]
    fn p11_an_org_may_have_less_than_its_plan_gives_and_never_more() {
        use LogHoursSource::{Org, Plan};
        let asks = |asked| format!("{{plan: Enterprise, executionLogs: {{retentionHours: {asked}}}}}");
        assert_eq!(hours(&asks(24), "{}"), (24, 24, Org));
        let short = "{executionLogs: {enterpriseHours: 100}}";
        assert_eq!(hours(&asks(500), short), (100, 100, Plan));
    }

    #[test]
    fn p12_hidden_logs_are_never_seen_and_kept_for_a_day() {
        let org = "{plan: Enterprise, executionLogs: {mode: Hidden, retentionHours: 500}}";
        assert_eq!(hours(org, "{}"), (0, 24, LogHoursSource::Hidden));
    }

    #[test]
    fn p12_logs_are_hidden_as_soon_as_the_spec_says_so_and_until_nothing_does() {
        let hidden = "{plan: Team, executionLogs: {mode: Hidden}}";
        let in_force = |org: &str| {
            wanted(
                &serde_yaml::from_str(org).unwrap(),
                &RetentionPolicySpec::default(),
            )
        };
        for (org, recorded, mode) in [
            ("{plan: Team}", None, LogMode::Visible),
            ("{plan: Team}", Some("{plan: Team}"), LogMode::Visible),
            // Nothing is recorded yet, or what is recorded is older than the spec.
            (hidden, None, LogMode::Hidden),
            (hidden, Some("{plan: Team}"), LogMode::Hidden),
            ("{plan: Team}", Some(hidden), LogMode::Hidden),
        ] {
            let spec: TrayOrgSpec = serde_yaml::from_str(org).unwrap();
            let recorded = recorded.map(in_force);
            assert_eq!(super::mode(&spec, recorded.as_ref()), mode, "{org} {recorded:?}");
        }
    }

    #[test]
    fn workloads_are_told_what_may_be_seen_and_has_to_be_kept() {
        let hours = ExecutionLogsStatus {
            visible_hours: 0,
            kept_hours: 168,
            source: LogHoursSource::Hidden,
        };
        let data = &config_map(&fixtures::placement(), &hours).body["data"];
        assert_eq!(
            data,
            &json!({"mode": "Hidden", "visibleHours": "0", "keptHours": "168"})
        );
    }
}
