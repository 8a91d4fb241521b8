//! What orgs go by is not deleted.

use super::{
    cases::{Case, delete},
    holds,
    world::Who,
};

pub(super) const POLICY: &str = "tray-references";

/// Objects of the world that orgs name; those called `unused` no org does.
pub(super) const IN_USE: [(&str, &str); 3] = [
    ("regions", "eu"),
    ("retentionpolicies", "standard"),
    ("backupschedules", "standard"),
];

pub(super) fn cases() -> Vec<Case> {
    let object =
        |plural: &str, name: &str| delete(format!("/apis/platform.tray.ai/v1alpha1/{plural}/{name}"));
    let mut cases = vec![
        object("regions", "eu").refused_to(Who::Admin, "Region eu is in use by 2 orgs: delete them first"),
        object("retentionpolicies", "standard").refused_to(
            Who::Admin,
            "RetentionPolicy standard is in use by 2 orgs: have them name another one first",
        ),
        object("backupschedules", "standard")
            .refused_to(Who::Operator, "BackupSchedule standard is in use by 2 orgs"),
        // An object whose orgs nobody has counted yet is named by none that runs.
        object("retentionpolicies", "uncounted").passes_for(Who::Admin),
    ];
    for (plural, _) in IN_USE {
        cases.push(object(plural, "unused").passes_for(Who::Admin));
    }
    cases
}

#[tokio::test]
async fn what_orgs_name_stays() {
    holds(POLICY).await;
}
