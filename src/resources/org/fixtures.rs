//! An org, its Region and two workloads, for tests: read from the YAML that a person would write.

use serde::de::DeserializeOwned;
use tray_api::{
    region::RegionSpec,
    trayorg::{PinnedRegion, TrayOrgSpec},
    workload::Workload,
};
use tray_domain::{backup_place::BackupPlace, cloud_regions::Jurisdiction};

use super::{Placement, Surroundings};

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_yaml::from_str(yaml).unwrap()
}

/// An org that says as little as it can.
pub(crate) fn org() -> TrayOrgSpec {
    read("{orgId: 7c9e6679-7425-40de-944b-e07fc1f90ae7, regionRef: {name: eu}, plan: Enterprise}")
}

/// A Region that runs [`database`] and [`runtime`].
pub(crate) fn region() -> RegionSpec {
    let mut region: RegionSpec = read(
        r#"
        jurisdiction: EU
        cloudRegion: eu-west-1
        zones: [eu-west-1a, eu-west-1b]
        storage: {storageClassName: org-encrypted}
        backup:
          bucket: tray-backups-eu
          bucketOwner: "111122223333"
          cloudRegion: eu-central-1
          kms: {ledgerKeyArn: "arn:aws:kms:eu-central-1:111122223333:key/k"}
          moverRoleArn: arn:aws:iam::111122223333:role/tray-mover
        "#,
    );
    region.workloads = vec![database(), runtime()];
    region
}

/// The same, with an ingress, and [`runtime`] taking webhooks.
pub(crate) fn region_with_webhook() -> RegionSpec {
    let mut region = region();
    region.ingress = Some(read(
        "{domain: hooks.eu.example.com, gatewayRef: {name: edge, namespace: tray-edge}}",
    ));
    region.workloads[1].webhook = Some(read("{port: http}"));
    region
}

/// A StatefulSet with a volume.
pub(crate) fn database() -> Workload {
    read(
        r"
        name: db
        kind: StatefulSet
        image: db:1
        runAsUser: 999
        runAsGroup: 999
        fsGroup: 999
        scratch: [/tmp]
        ports: [{name: sql, port: 5432}]
        resources: {cpu: 100m, memory: 256Mi}
        readiness: {exec: [pg_isready]}
        volume: {size: 10Gi, mountPath: /data}
        backup: {paths: [backup], pre: {command: [dump]}}
        ",
    )
}

/// A Deployment without one.
pub(crate) fn runtime() -> Workload {
    read(
        "{name: runtime, kind: Deployment, image: 'runtime:1', replicas: 2, ports: [{name: http, port: 8080}]}",
    )
}

/// Where the org is.
pub(crate) fn placement() -> Placement {
    Placement::new(
        "acme",
        "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
        PinnedRegion {
            name: "eu".into(),
            jurisdiction: Jurisdiction::Eu,
            cloud_region: "eu-west-1".into(),
        },
    )
    .with_backup(Some(backup_place()))
}

/// Where [`region`] has its orgs' copies.
pub(crate) fn backup_place() -> BackupPlace {
    BackupPlace::whole("tray-backups-eu", "111122223333", "")
}

/// What the operator is told.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        api_server_ports: vec![443, 6443],
    }
}
