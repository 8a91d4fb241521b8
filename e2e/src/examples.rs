//! The manifests of `examples/` on the local cluster: what they leave to their reader is filled in from the stand-in's facts.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::aws::{Facts, Place};
use crate::cluster::Cluster;
use crate::demo::kube::{Kube, has_condition};
use crate::error::{Error, Result};
use crate::paths::workspace;

/// The orgs of `examples/orgs/`, by file name.
pub const ORGS: [&str; 3] = ["acme-eu", "globex-us", "initech-apac"];

/// The policies and the Regions.
pub fn platform(cluster: &Cluster) -> Result<Vec<Value>> {
    let mut platform = read(cluster, "policies.yaml")?;
    let slots = slots_after(started_at(cluster)?);
    for schedule in platform
        .iter_mut()
        .filter(|object| object["kind"] == "BackupSchedule")
    {
        schedule["spec"]["schedule"] = json!(slots);
    }
    platform.extend(regions(cluster)?);
    Ok(platform)
}

/// Applies them, and waits until every Region is Ready.
pub fn apply_platform(cluster: &Cluster) -> Result<()> {
    apply(cluster, &platform(cluster)?)?;
    await_ready(&Kube::of(cluster)?, "region", None, Duration::from_secs(60))
}

/// The Regions, with the stand-in's buckets, keys and endpoints filled in.
pub fn regions(cluster: &Cluster) -> Result<Vec<Value>> {
    let facts = Facts::read(cluster.dir())?;
    let mut regions = read(cluster, "regions.yaml")?;
    for region in &mut regions {
        let name = region["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let place = facts.places.get(&name).ok_or_else(|| Error::Unexpected {
            what: "examples/regions.yaml".into(),
            detail: format!("the stand-in has no place for the Region {name}"),
        })?;
        fill_in(region, place, &facts);
        region["spec"]["logLocation"]["bucket"] = json!(facts.log_buckets.get(&name));
    }
    Ok(regions)
}

/// The TrayOrg of `examples/orgs/<file>.yaml`.
pub fn org(cluster: &Cluster, file: &str) -> Result<Value> {
    let found = read(cluster, &format!("orgs/{file}.yaml"))?;
    let org = found.into_iter().find(|object| object["kind"] == "TrayOrg");
    org.ok_or_else(|| Error::Unexpected {
        what: format!("examples/orgs/{file}.yaml"),
        detail: "it holds no TrayOrg".into(),
    })
}

/// Applies objects as a person would.
pub fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let apply = cluster.kubectl(["apply", "--filename=-"]);
    apply.input(list.to_string()).run().map(drop)
}

/// Waits until the object `name` of `kind`, or all of them, is Ready for what its spec says now.
pub fn await_ready(kube: &Kube, kind: &str, name: Option<&str>, deadline: Duration) -> Result<()> {
    let what = format!("{kind} {} did not become Ready", name.unwrap_or("(all)"));
    let args: Vec<&str> = [kind].into_iter().chain(name).collect();
    kube.wait(&what, deadline, &args, |answer| {
        let ready = match answer["items"].as_array() {
            Some(items) => !items.is_empty() && items.iter().all(is_ready),
            None => is_ready(answer),
        };
        ready.then_some(())
    })
}

fn is_ready(object: &Value) -> bool {
    let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    current && has_condition(object, "Ready", "True")
}

/// When the cluster was first started.
fn started_at(cluster: &Cluster) -> Result<Timestamp> {
    let namespace = Kube::of(cluster)?.get(&["namespace", "kube-system"])?;
    let created = namespace["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap_or_default();
    let what = "the age of the namespace kube-system";
    created.parse().map_err(Error::unexpected(what))
}

/// Two slots a day, as the example has them: the next comes three hours after the start, and the window of the one before is
/// over by then. So no run by the clock begins among those that a test counts, at whatever time of the day it runs.
fn slots_after(start: Timestamp) -> String {
    let first = (start.to_zoned(TimeZone::UTC).hour() + 3) % 12;
    format!("0 {first},{} * * *", first + 12)
}

/// Reads one file of `examples/`. kubectl does it, so that the manifests are read as they will be.
fn read(cluster: &Cluster, file: &str) -> Result<Vec<Value>> {
    let path = workspace().join("examples").join(file);
    let text = cluster
        .kubectl(["create", "--dry-run=client", "--output=json"])
        .flag("filename", &path)
        .run()?;
    let objects = serde_json::Deserializer::from_str(&text).into_iter();
    objects
        .collect::<Result<_, _>>()
        .map_err(Error::unexpected(path.display().to_string()))
}

fn fill_in(region: &mut Value, place: &Place, facts: &Facts) {
    let backup = &mut region["spec"]["backup"];
    backup["bucket"] = json!(place.bucket);
    backup["bucketOwner"] = json!(place.bucket_owner);
    backup["cloudRegion"] = json!(place.bucket_region);
    backup["kms"]["ledgerKeyArn"] = json!(place.ledger_key_arn);
    backup["moverRoleArn"] = json!(facts.mover_role_arn);
    let endpoint = &facts.endpoint;
    backup["endpoints"] = json!({"s3": endpoint, "kms": endpoint, "sts": endpoint});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_slot_comes_soon_after_the_start() {
        let after = |start: &str| slots_after(start.parse().unwrap());
        assert_eq!(after("2026-01-01T14:05:00Z"), "0 5,17 * * *");
        assert_eq!(after("2026-01-01T23:59:00Z"), "0 2,14 * * *");
    }

    #[test]
    fn an_object_is_ready_only_for_the_spec_that_was_looked_at() {
        let object = |observed: i64, status: &str| {
            json!({"metadata": {"generation": 2}, "status": {
                "observedGeneration": observed,
                "conditions": [{"type": "Placed", "status": "True"}, {"type": "Ready", "status": status}],
            }})
        };
        assert!(is_ready(&object(2, "True")));
        assert!(!is_ready(&object(1, "True")) && !is_ready(&object(2, "False")));
        assert!(!is_ready(&json!({"metadata": {"generation": 2}})));
    }
}
