//! The three orgs of the examples, and what is done to them.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::database::Database;
use super::kube::{Kube, said};
use super::report::{OrgReport, PodReport, SnapshotReport};
use super::{PATIENCE, unexpected};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::examples;

/// An org of the examples.
#[derive(Debug, Clone, Copy)]
pub struct Org {
    /// TrayOrg.
    pub name: &'static str,
    /// Its manifest in `examples/orgs/`.
    file: &'static str,
    /// Its namespace: the name and the first eight digits of its id.
    pub namespace: &'static str,
    /// Its Region.
    pub region: &'static str,
}

/// All of them.
pub const ORGS: [Org; 3] = [
    Org {
        name: "acme",
        file: "acme-eu",
        namespace: "org-acme-7c9e6679",
        region: "eu",
    },
    Org {
        name: "globex",
        file: "globex-us",
        namespace: "org-globex-3d813cbb",
        region: "us",
    },
    Org {
        name: "initech",
        file: "initech-apac",
        namespace: "org-initech-9b2e1f60",
        region: "apac",
    },
];

/// Applies the examples as they are, but for what only a platform team knows: keys and endpoints.
pub fn apply_examples(cluster: &Cluster) -> Result<()> {
    examples::apply_platform(cluster)?;
    examples::apply(cluster, &manifests(cluster)?)
}

/// Their manifests.
pub fn manifests(cluster: &Cluster) -> Result<Vec<Value>> {
    ORGS.iter().map(|org| examples::org(cluster, org.file)).collect()
}

/// Tries a pod of `org` in a region that is not the org's; returns what the API server said.
pub fn try_wrong_region(kube: &Kube, org: &Org) -> Result<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "elsewhere", "namespace": org.namespace},
        "spec": {
            "nodeSelector": {"topology.kubernetes.io/region": "us-east-1"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": crate::image::WEB, "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    match kube.create(&pod) {
        Ok(_) => Err(unexpected("the pod in the wrong region", "it was let in")),
        Err(Error::Program { output, .. }) => Ok(output.trim().to_owned()),
        Err(error) => Err(error),
    }
}

impl Org {
    /// Its database.
    pub fn database(&self, kube: &Kube) -> Database {
        Database::new(kube, self.namespace, "db-0")
    }

    /// Its orgId, as the API says.
    pub fn id(&self, kube: &Kube) -> Result<String> {
        Ok(text(&kube.get(&["trayorg", self.name])?["status"]["orgId"]))
    }

    /// Awaits its condition Ready.
    pub fn await_ready(&self, kube: &Kube) -> Result<()> {
        examples::await_ready(kube, "trayorg", Some(self.name), PATIENCE)
    }

    /// Where it is, as the API says.
    pub fn report(&self, kube: &Kube) -> Result<OrgReport> {
        let org = kube.get(&["trayorg", self.name])?;
        let mut pods = Vec::new();
        for pod in kube.list(&["pods", "-n", self.namespace, "-l", "platform.tray.ai/workload"])? {
            let node = text(&pod["spec"]["nodeName"]);
            let labels = &kube.get(&["node", &node])?["metadata"]["labels"];
            let node_region = text(&labels["topology.kubernetes.io/region"]);
            pods.push(PodReport {
                name: text(&pod["metadata"]["name"]),
                node,
                node_region,
            });
        }
        Ok(OrgReport {
            name: self.name.to_owned(),
            region: self.region.to_owned(),
            cloud_region: text(&org["status"]["region"]["cloudRegion"]),
            pods,
            ..OrgReport::default()
        })
    }

    /// Its verdicts, as the API says.
    pub fn verdicts(&self, kube: &Kube, report: &mut OrgReport) -> Result<()> {
        let backup = &kube.get(&["trayorg", self.name])?["status"]["backup"];
        report.rpo = text(&backup["rpo"]["verdict"]);
        report.rto = text(&backup["rto"]["verdict"]);
        Ok(())
    }

    /// The snapshot that the operator takes by itself as soon as the org is up.
    pub fn first_snapshot(&self, kube: &Kube) -> Result<SnapshotReport> {
        let what = format!("org {} got no first snapshot", self.name);
        kube.wait(&what, PATIENCE, &["orgsnapshots"], |list| {
            let of_org = |object: &&Value| object["spec"]["orgRef"]["name"] == self.name;
            list["items"]
                .as_array()?
                .iter()
                .filter(of_org)
                .find_map(committed)
        })
    }

    /// Asks for a snapshot now.
    pub fn ask_snapshot(&self, kube: &Kube, name: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgSnapshot",
            "metadata": {"name": name}, "spec": {"orgRef": {"name": self.name}},
        });
        kube.create(&object).map(drop)
    }

    /// Awaits its commit.
    pub fn await_snapshot(&self, kube: &Kube, name: &str) -> Result<SnapshotReport> {
        let snapshot = self.await_end(kube, name)?;
        committed(&snapshot)
            .ok_or_else(|| unexpected(&format!("OrgSnapshot {name}"), &snapshot["status"].to_string()))
    }

    /// Awaits its end, good or bad, and returns the OrgSnapshot.
    pub fn await_end(&self, kube: &Kube, name: &str) -> Result<Value> {
        let what = format!("OrgSnapshot {name} did not end");
        kube.wait(&what, PATIENCE, &["orgsnapshot", name], |object| {
            let phase = object["status"]["phase"].as_str()?;
            matches!(phase, "Committed" | "Failed").then(|| object.clone())
        })
    }

    /// Consistency point of its newest good run.
    pub fn consistency_point(&self, kube: &Kube) -> Result<SystemTime> {
        let org = kube.get(&["trayorg", self.name])?;
        let point = text(&org["status"]["backup"]["consistencyPoint"]);
        let point: jiff::Timestamp = point
            .parse()
            .map_err(Error::unexpected(format!("the time {point:?}")))?;
        Ok(point.into())
    }

    /// Files in the volume of the web server.
    pub fn fill_web(&self, kube: &Kube, mebibytes: u32) -> Result<()> {
        let script = format!(
            "i=0; while [ $i -lt {mebibytes} ]; do head -c 1048576 /dev/urandom > /data/file-$i; i=$((i+1)); done"
        );
        kube.exec(self.namespace, "web-0", &["sh", "-c", &script])
            .map(drop)
    }

    /// How many files the web server has, and a checksum over their names and contents.
    pub fn web_files(&self, kube: &Kube) -> Result<(u64, String)> {
        let script = "cd /data && find . -type f | sort | xargs sha256sum > /tmp/sums && wc -l < /tmp/sums && sha256sum < /tmp/sums";
        let answer = kube.exec(self.namespace, "web-0", &["sh", "-c", script])?;
        let mut words = answer.split_whitespace();
        let (Some(count), Some(checksum)) = (words.next(), words.next()) else {
            return Err(unexpected("the web server's files", &answer));
        };
        let count = count.parse().map_err(Error::unexpected("the number of files"))?;
        Ok((count, checksum.to_owned()))
    }

    /// A Secret and a ConfigMap that the operator knows nothing of.
    pub fn make_foreign_objects(&self, kube: &Kube) -> Result<()> {
        kube.run(&[
            "create",
            "secret",
            "generic",
            "connector",
            "--from-literal=token=abc",
            "-n",
            self.namespace,
        ])?;
        kube.run(&[
            "create",
            "configmap",
            "flows",
            "--from-literal=a=b",
            "-n",
            self.namespace,
        ])
        .map(drop)
    }

    /// They are there.
    pub fn expect_foreign_objects(&self, kube: &Kube) -> Result<()> {
        let secret = kube.get(&["secret", "connector", "-n", self.namespace])?;
        let flows = kube.get(&["configmap", "flows", "-n", self.namespace])?;
        // base64 of "abc".
        if secret["data"]["token"] == "YWJj" && flows["data"]["a"] == "b" {
            return Ok(());
        }
        Err(unexpected(
            "the objects that were restored",
            "they hold something else than before",
        ))
    }

    /// Destroys its volumes and everything that is not rendered.
    pub fn destroy(&self, kube: &Kube) -> Result<()> {
        let namespace = ["-n", self.namespace];
        kube.run(
            &[
                &["delete", "pvc", "data-db-0", "data-web-0", "--wait=false"][..],
                &namespace,
            ]
            .concat(),
        )?;
        kube.run(&[&["delete", "secret", "connector"][..], &namespace].concat())?;
        kube.run(&[&["delete", "configmap", "flows"][..], &namespace].concat())?;
        kube.run(
            &[
                &["delete", "pod", "db-0", "web-0", "--wait=false"][..],
                &namespace,
            ]
            .concat(),
        )
        .map(drop)
    }

    /// Awaits that the operator says that data was lost, and stopped the workloads.
    pub fn await_data_lost(&self, kube: &Kube) -> Result<()> {
        let what = format!("the loss of org {}'s volumes was not noticed", self.name);
        kube.wait(&what, PATIENCE, &["trayorg", self.name], |org| {
            let message = said(org, "DataLost");
            (message.contains("data-db-0") && message.contains("data-web-0")).then_some(())
        })
    }

    /// Restores the newest good run in place, and awaits its end. Returns the seconds that its status says.
    pub fn restore(&self, kube: &Kube, name: &str) -> Result<u64> {
        kube.create(&json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgRestore", "metadata": {"name": name},
            "spec": {"orgRef": {"name": self.name}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}},
        }))?;
        let what = format!("OrgRestore {name} did not end");
        let restore = kube.wait(&what, PATIENCE, &["orgrestore", name], |object| {
            let phase = object["status"]["phase"].as_str()?;
            matches!(phase, "Succeeded" | "Failed").then(|| object.clone())
        })?;
        if restore["status"]["phase"] != "Succeeded" {
            return Err(unexpected(
                &format!("OrgRestore {name}"),
                &restore["status"].to_string(),
            ));
        }
        Ok(restore["status"]["seconds"].as_u64().unwrap_or_default())
    }
}

fn committed(snapshot: &Value) -> Option<SnapshotReport> {
    let status = &snapshot["status"];
    (status["phase"] == "Committed").then(|| SnapshotReport {
        name: text(&snapshot["metadata"]["name"]),
        bucket: text(&status["bucket"]),
        bucket_region: text(&status["bucketCloudRegion"]),
        kms_key_arn: text(&status["kmsKeyArn"]),
        bytes_read: number(&status["bytesRead"]),
        bytes_added: number(&status["bytesAdded"]),
        files: number(&status["files"]),
        objects: number(&status["objects"]),
        seconds: number(&status["durationSeconds"]),
        pruned: status["pruned"].as_bool().unwrap_or_default(),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
