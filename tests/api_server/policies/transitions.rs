//! What may never change.

use serde_json::{Value, json};

use super::{
    cases::{Case, change},
    holds,
    world::{Ask, Who},
};

pub(super) const OF_REGIONS: &str = "tray-region-transitions";
pub(super) const OF_ORGS: &str = "tray-org-transitions";
pub(super) const OF_RUNS: &str = "tray-run-transitions";

const OURS: &str = "/apis/platform.tray.ai/v1alpha1";

fn spec(of: &str, patch: Value) -> Ask {
    change(format!("{OURS}/{of}"), json!({"spec": patch}))
}

pub(super) fn cases_of_regions() -> Vec<Case> {
    let place = json!({
        "cloudRegion": "eu-west-3", "zones": ["eu-west-3a", "eu-west-3b"],
    });
    let other_law = json!({
        "jurisdiction": "US", "cloudRegion": "us-west-2", "zones": ["us-west-2a", "us-west-2b"],
        "backup": {"cloudRegion": "us-east-2", "kms": {"ledgerKeyArn": "arn:aws:kms:us-east-2:111122223333:key/k"}},
    });
    vec![
        spec(
            "regions/eu",
            json!({"scheduling": "Cordoned", "zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"]}),
        )
        .passes_for(Who::Admin),
        spec("regions/eu", place.clone())
            .refused_to(Who::Admin, "spec.cloudRegion of a Region never changes"),
        spec("regions/eu", place).refused_to(Who::Operator, "create another Region"),
        spec("regions/eu", other_law).refused_to(Who::Admin, "spec.jurisdiction of a Region never changes"),
        spec("regions/eu", json!({"stage": "NonProduction"}))
            .refused_to(Who::Admin, "spec.stage of a Region never changes"),
    ]
}

pub(super) fn cases_of_orgs() -> Vec<Case> {
    let status = |org: &str, patch| change(format!("{OURS}/trayorgs/{org}/status"), json!({"status": patch}));
    let id = "00000009-0000-4000-8000-000000000000";
    let elsewhere = "status.backupPlace never changes";
    let pinned = "spec.regionRef of a placed org never changes: TrayOrg acme is pinned to eu; put eu back";
    vec![
        spec("trayorgs/acme", json!({"plan": "Pro"})).passes_for(Who::Admin),
        // Once it is in the status the spec may leave it out.
        spec("trayorgs/acme", json!({"orgId": null})).passes_for(Who::Admin),
        spec("trayorgs/unplaced", json!({"regionRef": {"name": "apac"}})).passes_for(Who::Admin),
        spec("trayorgs/unplaced", json!({"orgId": id})).passes_for(Who::Admin),
        // As `RetainedDataExists` has it.
        spec("trayorgs/asking", json!({"orgId": id})).passes_for(Who::Admin),
        spec("trayorgs/asking", json!({"orgId": null})).passes_for(Who::Admin),
        // A Region that is recorded pins it, and so does an id.
        spec("trayorgs/with-region", json!({"orgId": id})).refused_to(
            Who::Admin,
            "spec.orgId never changes: TrayOrg with-region is 00000004-",
        ),
        spec("trayorgs/with-region", json!({"orgId": null})).refused_to(Who::Admin, "put it back"),
        spec("trayorgs/with-id", json!({"orgId": id})).refused_to(
            Who::Admin,
            "spec.orgId never changes: TrayOrg with-id is 00000005-",
        ),
        status("acme", json!({"raisedWorkloads": ["a"]})).passes_for(Who::Operator),
        spec("trayorgs/acme", json!({"regionRef": {"name": "apac"}})).refused_to(Who::Admin, pinned),
        spec("trayorgs/acme", json!({"regionRef": {"name": "apac"}})).refused_to(Who::Operator, pinned),
        spec("trayorgs/acme", json!({"orgId": id}))
            .refused_to(Who::Admin, "spec.orgId never changes: TrayOrg acme is 00000001-"),
        status("acme", json!({"region": {"cloudRegion": "us-west-2"}}))
            .refused_to(Who::Operator, "status.region never changes"),
        status("acme", json!({"region": null})).refused_to(Who::Operator, "status.region never changes"),
        status(
            "acme",
            json!({"backupPlace": {"bucket": "tray-backups-eu", "prefix": ""}}),
        )
        .passes_for(Who::Operator),
        status(
            "unprotected",
            json!({"backupPlace": {"bucketOwner": "111122223333", "prefix": "p/"}}),
        )
        .passes_for(Who::Operator),
        status("unplaced", json!({"backupPlace": {"bucket": "tray-backups-eu"}})).passes_for(Who::Operator),
        status("acme", json!({"backupPlace": null})).refused_to(Who::Operator, elsewhere),
        status("acme", json!({"backupPlace": {"bucket": "other"}})).refused_to(Who::Operator, elsewhere),
        status("acme", json!({"backupPlace": {"bucketOwner": "444455556666"}}))
            .refused_to(Who::Operator, elsewhere),
        status("acme", json!({"backupPlace": {"bucketOwner": null}})).refused_to(Who::Operator, elsewhere),
        status("acme", json!({"backupPlace": {"prefix": "other/"}})).refused_to(Who::Operator, elsewhere),
        status("acme", json!({"backupPlace": {"prefix": null}})).refused_to(Who::Operator, elsewhere),
        status("unprotected", json!({"backupPlace": {"bucket": "other"}}))
            .refused_to(Who::Operator, elsewhere),
        status("unprotected", json!({"orgId": id})).refused_to(Who::Operator, "status.orgId never changes"),
        status("acme", json!({"namespace": "other"}))
            .refused_to(Who::Operator, "status.namespace never changes"),
    ]
}

pub(super) fn cases_of_runs() -> Vec<Case> {
    let meta = |of: &str| {
        change(
            format!("{OURS}/{of}"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
    };
    vec![
        meta("orgsnapshots/run").passes_for(Who::Admin),
        meta("orgrestores/back").passes_for(Who::Admin),
        spec("orgsnapshots/run", json!({"orgRef": {"name": "other"}})).refused_to(
            Who::Admin,
            "spec of OrgSnapshot run never changes: create another one",
        ),
        spec("orgrestores/back", json!({"orgRef": {"name": "other"}})).refused_to(
            Who::Operator,
            "spec of OrgRestore back never changes: create another one",
        ),
    ]
}

#[tokio::test]
async fn p1_the_place_of_a_region_never_changes() {
    holds(OF_REGIONS).await;
}

#[tokio::test]
async fn p1_an_org_never_leaves_its_region_nor_takes_another_id() {
    holds(OF_ORGS).await;
}

#[tokio::test]
async fn a_run_stays_what_it_was_asked_for() {
    holds(OF_RUNS).await;
}
