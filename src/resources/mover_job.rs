//! The Job of one mover, and the Secret that tells it what to do.
//!
//! A mover runs under PodSecurity `restricted`. In an org's namespace it runs with the workload's own uid and gid, so
//! that it reads what the workload reads; the workload's fsGroup is given as a *supplemental* group when the volume is
//! only read, because a pod's `fsGroup` would rewrite the modes of the live volume.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
        },
        core::v1::{
            Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
            PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec,
            ResourceRequirements, SeccompProfile, Secret, SecretVolumeSource, SecurityContext, Volume,
            VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};
use tray_domain::{
    ids::{OrgId, PartId, RunId, SweepId},
    mover_task::{
        CA_BUNDLE_FILE, CREDENTIALS_FILE, EXIT_PERMANENT, MoverTask, SessionCredentials, TASK_DIR, TASK_FILE,
        VOLUME_DIR,
    },
    names,
};

/// uid and gid of a mover that mounts no volume: the image's own user.
const IMAGE_USER: i64 = 65_532;
/// Tries of a part before its run fails.
const BACKOFF_LIMIT: i32 = 2;

/// How a mover mounts a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Copy from it.
    ReadOnly,
    /// Fill it.
    ReadWrite,
}

/// The volume a mover works on.
#[derive(Clone, Debug)]
pub struct MoverVolume {
    /// Claim in the Job's namespace.
    pub claim: PartId,
    /// Its UID. Recorded on the Job of a mover that fills it: another claim may have its name when that has ended.
    pub claim_uid: Option<String>,
    /// Read or fill.
    pub access: Access,
    /// Node of the pod that has it mounted; none when no pod has.
    pub node: Option<String>,
    /// The workload's `runAsUser`.
    pub run_as_user: i64,
    /// The workload's `runAsGroup`.
    pub run_as_group: i64,
    /// The workload's `fsGroup`.
    pub fs_group: Option<i64>,
}

/// One mover.
#[derive(Clone, Debug)]
pub struct Mover {
    /// Name of the Job.
    pub name: String,
    /// The org's namespace, or the operator's for pruning.
    pub namespace: String,
    /// TrayOrg.
    pub org_name: String,
    /// Its id.
    pub org_id: OrgId,
    /// OrgSnapshot or OrgRestore it works for; the TrayOrg for pruning.
    pub owner: String,
    /// The run, where there is one.
    pub run_id: Option<RunId>,
    /// The part, where there is one.
    pub part: Option<PartId>,
    /// The org's cloud region: movers stay in it, too.
    pub cloud_region: String,
    /// The operator's own image.
    pub image: String,
    /// Pull policy of that image.
    pub image_pull_policy: Option<String>,
    /// What it mounts.
    pub volume: Option<MoverVolume>,
    /// Whether it talks to the Kubernetes API (objects parts).
    pub kubernetes_api: bool,
    /// Recorded on the Job, so that it survives the operator.
    pub consistency_point: Option<Timestamp>,
    /// The Job ends after this many seconds.
    pub deadline_seconds: i64,
}

impl Mover {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (names::LABEL_MANAGED_BY.to_owned(), names::OPERATOR.to_owned()),
            (
                names::LABEL_COMPONENT.to_owned(),
                names::COMPONENT_MOVER.to_owned(),
            ),
            (names::LABEL_ORG.to_owned(), self.org_name.clone()),
            (names::LABEL_ORG_ID.to_owned(), self.org_id.to_string()),
            (names::LABEL_OWNER.to_owned(), self.owner.clone()),
        ]);
        if let Some(run) = &self.run_id {
            labels.insert(names::LABEL_RUN.to_owned(), run.as_str().to_lowercase());
        }
        if let Some(part) = &self.part {
            labels.insert(names::LABEL_PART.to_owned(), part.to_string());
        }
        labels
    }

    /// The Job, suspended: its Secret is made after it (so that the Secret can be owned by it), then it is resumed.
    pub fn job(&self) -> Job {
        let point = self.consistency_point.map(|at| at.to_string());
        let filled = self
            .volume
            .as_ref()
            .filter(|volume| volume.access == Access::ReadWrite);
        let annotations: BTreeMap<String, String> = [
            (names::ANNOTATION_CONSISTENCY_POINT, point),
            (
                names::ANNOTATION_CLAIM_UID,
                filled.and_then(|volume| volume.claim_uid.clone()),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        Job {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(self.labels()),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                suspend: Some(true),
                backoff_limit: Some(BACKOFF_LIMIT),
                active_deadline_seconds: Some(self.deadline_seconds),
                // Two pods of one part never run at once: a repository has one writer.
                pod_replacement_policy: Some("Failed".to_owned()),
                pod_failure_policy: Some(PodFailurePolicy {
                    rules: vec![PodFailurePolicyRule {
                        action: "FailJob".to_owned(),
                        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                            operator: "In".to_owned(),
                            values: vec![EXIT_PERMANENT],
                            ..PodFailurePolicyOnExitCodesRequirement::default()
                        }),
                        ..PodFailurePolicyRule::default()
                    }],
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.labels()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod()),
                },
                ..JobSpec::default()
            }),
            status: None,
        }
    }

    fn pod(&self) -> PodSpec {
        let mut node_selector = BTreeMap::from([(names::NODE_REGION.to_owned(), self.cloud_region.clone())]);
        if let Some(node) = self.volume.as_ref().and_then(|v| v.node.clone()) {
            node_selector.insert("kubernetes.io/hostname".to_owned(), node);
        }
        let (volumes, volume_mounts) = self.volumes();
        PodSpec {
            service_account_name: Some(names::MOVER_SERVICE_ACCOUNT.to_owned()),
            automount_service_account_token: Some(self.kubernetes_api),
            enable_service_links: Some(false),
            priority_class_name: Some(names::MOVER_PRIORITY_CLASS.to_owned()),
            restart_policy: Some("Never".to_owned()),
            node_selector: Some(node_selector),
            security_context: Some(self.pod_security_context()),
            containers: vec![Container {
                name: names::COMPONENT_MOVER.to_owned(),
                image: Some(self.image.clone()),
                image_pull_policy: self.image_pull_policy.clone(),
                args: Some(vec!["mover".to_owned(), "run".to_owned()]),
                env: Some(vec![
                    field_env("POD_NAME", "metadata.name"),
                    field_env("POD_NAMESPACE", "metadata.namespace"),
                    field_env("POD_UID", "metadata.uid"),
                    // The engine writes times with the offset of the process's zone, rounded to minutes.
                    EnvVar {
                        name: "TZ".to_owned(),
                        value: Some("UTC".to_owned()),
                        value_from: None,
                    },
                    EnvVar {
                        name: "AWS_EC2_METADATA_DISABLED".to_owned(),
                        value: Some("true".to_owned()),
                        value_from: None,
                    },
                ]),
                resources: Some(ResourceRequirements {
                    requests: Some(BTreeMap::from([
                        ("cpu".to_owned(), Quantity("50m".to_owned())),
                        ("memory".to_owned(), Quantity("64Mi".to_owned())),
                    ])),
                    limits: Some(BTreeMap::from([(
                        "memory".to_owned(),
                        Quantity("512Mi".to_owned()),
                    )])),
                    ..ResourceRequirements::default()
                }),
                security_context: Some(SecurityContext {
                    allow_privilege_escalation: Some(false),
                    read_only_root_filesystem: Some(true),
                    capabilities: Some(Capabilities {
                        drop: Some(vec!["ALL".to_owned()]),
                        add: None,
                    }),
                    ..SecurityContext::default()
                }),
                volume_mounts: Some(volume_mounts),
                ..Container::default()
            }],
            volumes: Some(volumes),
            ..PodSpec::default()
        }
    }

    fn pod_security_context(&self) -> PodSecurityContext {
        let mut context = PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(IMAGE_USER),
            run_as_group: Some(IMAGE_USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        };
        if let Some(volume) = &self.volume {
            context.run_as_user = Some(volume.run_as_user);
            context.run_as_group = Some(volume.run_as_group);
            match volume.access {
                Access::ReadOnly => context.supplemental_groups = volume.fs_group.map(|group| vec![group]),
                Access::ReadWrite => {
                    context.fs_group = volume.fs_group;
                    context.fs_group_change_policy = volume.fs_group.map(|_| "OnRootMismatch".to_owned());
                }
            }
        }
        context
    }

    fn volumes(&self) -> (Vec<Volume>, Vec<VolumeMount>) {
        let scratch = |name: &str| Volume {
            name: name.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        };
        let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        };
        let mut volumes = vec![
            Volume {
                name: "task".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret_name(&self.name)),
                    // The only container runs as an arbitrary uid that owns nothing here.
                    default_mode: Some(0o444),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            scratch("tmp"),
            scratch("cache"),
        ];
        let mut mounts = vec![
            mount("task", TASK_DIR, true),
            mount("tmp", "/tmp", false),
            mount("cache", "/cache", false),
        ];
        if let Some(volume) = &self.volume {
            let read_only = volume.access == Access::ReadOnly;
            volumes.push(Volume {
                name: "volume".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: volume.claim.to_string(),
                    read_only: read_only.then_some(true),
                }),
                ..Volume::default()
            });
            mounts.push(mount("volume", VOLUME_DIR, read_only));
        }
        (volumes, mounts)
    }

    /// The mover's Secret, owned by its Job. `ca_bundle` is PEM.
    pub fn secret(
        &self,
        job_uid: &str,
        task: &MoverTask,
        credentials: &SessionCredentials,
        ca_bundle: Option<&[u8]>,
    ) -> Result<Secret, serde_json::Error> {
        let mut data = BTreeMap::from([
            (TASK_FILE.to_owned(), ByteString(serde_json::to_vec(task)?)),
            (
                CREDENTIALS_FILE.to_owned(),
                ByteString(serde_json::to_vec(credentials)?),
            ),
        ]);
        if let Some(pem) = ca_bundle {
            data.insert(CA_BUNDLE_FILE.to_owned(), ByteString(pem.to_vec()));
        }
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(&self.name)),
                namespace: Some(self.namespace.clone()),
                labels: Some(self.labels()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "batch/v1".to_owned(),
                    kind: "Job".to_owned(),
                    name: self.name.clone(),
                    uid: job_uid.to_owned(),
                    controller: Some(true),
                    block_owner_deletion: Some(false),
                }]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        })
    }
}

fn field_env(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

/// Name of the Secret of a mover's Job. Names that begin with `tray-` are not for workloads, and a policy lets no pod but a
/// mover refer to them.
pub fn secret_name(job: &str) -> String {
    format!("tray-mover-{job}")
}

/// Name of the Job of one part of a run: the run's ULID (lower case) and the part, at most 63 characters.
pub fn snapshot_job_name(run: &RunId, part: &PartId) -> String {
    names::bounded(format!("snap-{}-{part}", run.as_str().to_lowercase()))
}

/// Name of the Job that proves that one part can be restored.
pub fn proof_job_name(restore_uid: &str, part: &PartId) -> String {
    names::bounded(format!("{}proof-{part}", restore_jobs(restore_uid)))
}

/// What the names of the Jobs of all OrgRestores begin with.
pub const RESTORE_JOBS: &str = "restore-";

/// What the names of all Jobs of an OrgRestore begin with.
pub fn restore_jobs(restore_uid: &str) -> String {
    format!(
        "{RESTORE_JOBS}{}-",
        restore_uid.split('-').next().unwrap_or_default()
    )
}

/// Name of the Job of a sweep of an org's repositories: the first group of the org's id, and the sweep's ULID.
pub fn sweep_job_name(org: &OrgId, sweep: &SweepId) -> String {
    let org = org.as_str().split('-').next().unwrap_or_default();
    format!("prune-{org}-{}", sweep.as_str().to_lowercase())
}

/// Name of the Job that restores one part, from the OrgRestore's UID so that a new OrgRestore never meets old Jobs.
pub fn restore_job_name(restore_uid: &str, part: &PartId) -> String {
    names::bounded(format!("{}{part}", restore_jobs(restore_uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mover(access: Access) -> Mover {
        Mover {
            name: "snap-x".into(),
            namespace: "org-acme-7c9e6679".into(),
            org_name: "acme".into(),
            org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
            owner: "acme-1".into(),
            run_id: Some("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()),
            part: Some("data-db-0".parse().unwrap()),
            cloud_region: "eu-west-1".into(),
            image: "operator".into(),
            image_pull_policy: None,
            volume: Some(MoverVolume {
                claim_uid: Some("claim-uid".to_owned()),
                claim: "data-db-0".parse().unwrap(),
                access,
                node: Some("n1".into()),
                run_as_user: 999,
                run_as_group: 998,
                fs_group: Some(997),
            }),
            kubernetes_api: false,
            consistency_point: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            deadline_seconds: 60,
        }
    }

    fn pod(mover: &Mover) -> PodSpec {
        mover.job().spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn a_reading_mover_never_sets_fs_group() {
        let pod = pod(&mover(Access::ReadOnly));
        let context = pod.security_context.unwrap();
        assert_eq!(context.fs_group, None);
        assert_eq!(context.supplemental_groups, Some(vec![997]));
        assert_eq!(
            (context.run_as_user, context.run_as_group),
            (Some(999), Some(998))
        );
        let claim = pod
            .volumes
            .unwrap()
            .pop()
            .unwrap()
            .persistent_volume_claim
            .unwrap();
        assert_eq!(claim.read_only, Some(true));
    }

    #[test]
    fn a_filling_mover_sets_fs_group_and_writes() {
        let pod = pod(&mover(Access::ReadWrite));
        let context = pod.security_context.unwrap();
        assert_eq!(context.fs_group, Some(997));
        assert_eq!(context.supplemental_groups, None);
        assert_eq!(
            pod.volumes
                .unwrap()
                .pop()
                .unwrap()
                .persistent_volume_claim
                .unwrap()
                .read_only,
            None
        );
    }

    #[test]
    fn the_job_of_a_filling_mover_says_which_claim_it_is_for() {
        let said = |access| {
            let annotations = mover(access).job().metadata.annotations.unwrap();
            annotations.get(names::ANNOTATION_CLAIM_UID).cloned()
        };
        assert_eq!(said(Access::ReadWrite).as_deref(), Some("claim-uid"));
        assert_eq!(said(Access::ReadOnly), None);
    }

    #[test]
    fn it_stays_in_the_region_and_on_the_node_of_the_volume() {
        let selector = pod(&mover(Access::ReadOnly)).node_selector.unwrap();
        assert_eq!(selector[names::NODE_REGION], "eu-west-1");
        assert_eq!(selector["kubernetes.io/hostname"], "n1");
    }

    #[test]
    fn it_has_a_token_only_for_the_kubernetes_api() {
        let mut mover = mover(Access::ReadOnly);
        assert_eq!(pod(&mover).automount_service_account_token, Some(false));
        mover.kubernetes_api = true;
        assert_eq!(pod(&mover).automount_service_account_token, Some(true));
    }

    #[test]
    fn p3_jobs_and_their_pods_say_whose_they_are_by_name_and_id() {
        let job = mover(Access::ReadOnly).job();
        let pod = job.spec.unwrap().template.metadata.unwrap().labels;
        for labels in [job.metadata.labels, pod] {
            let labels = labels.unwrap();
            assert_eq!(labels[names::LABEL_ORG], "acme");
            assert_eq!(
                labels[names::LABEL_ORG_ID],
                "7c9e6679-7425-40de-944b-e07fc1f90ae7"
            );
        }
    }

    #[test]
    fn job_names_are_labels_and_stay_different_when_cut() {
        let run: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let long = |end: char| format!("data-{}{end}", "w".repeat(50)).parse::<PartId>().unwrap();
        let (one, two) = (
            snapshot_job_name(&run, &long('a')),
            snapshot_job_name(&run, &long('b')),
        );
        assert_ne!(one, two);
        assert!(one.parse::<PartId>().is_ok() && two.parse::<PartId>().is_ok());
    }
}
