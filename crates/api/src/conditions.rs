//! Types and reasons of the conditions in every status. Reasons are constants: alerts and scripts match on them.

/// Types of conditions.
pub mod types {
    /// The object is as its spec says and all its hard requirements hold.
    pub const READY: &str = "Ready";
    /// The operator is at work on it. Absent otherwise.
    pub const RECONCILING: &str = "Reconciling";
    /// It cannot go on until a person acts. Absent otherwise.
    pub const STALLED: &str = "Stalled";

    /// Region: nodes of its cloud region are ready.
    pub const NODES_AVAILABLE: &str = "NodesAvailable";
    /// Region: at least `minZones` zones have ready nodes.
    pub const ZONES_AVAILABLE: &str = "ZonesAvailable";
    /// Region: S3 itself says that the log bucket is what the spec says. Absent without `logLocation`.
    pub const LOG_LOCATION_VERIFIED: &str = "LogLocationVerified";
    /// Region: S3 itself says that the backup bucket is what the spec says.
    pub const BACKUP_LOCATION_VERIFIED: &str = "BackupLocationVerified";
    /// Region: what is removed from the backup bucket goes, and goes nowhere else. Never makes Ready false.
    pub const BACKUP_LOCATION_HARDENED: &str = "BackupLocationHardened";
    /// Region: every org runs the newest revision of the region's workloads.
    pub const WORKLOADS_ROLLED_OUT: &str = "WorkloadsRolledOut";

    /// Region: the cluster has what `spec.ingress` needs. Absent where that is not set.
    pub const INGRESS_AVAILABLE: &str = "IngressAvailable";

    /// TrayOrg: it has a namespace in its pinned region.
    pub const PLACED: &str = "Placed";
    /// TrayOrg: every pod and volume is in the pinned region, backups are where its Region says. False makes Ready false.
    pub const RESIDENCY_COMPLIANT: &str = "ResidencyCompliant";
    /// TrayOrg: all its workloads have their replicas available.
    pub const WORKLOADS_AVAILABLE: &str = "WorkloadsAvailable";
    /// TrayOrg: the pods of each workload run in as many zones as they can. Never makes Ready false.
    pub const ZONES_SPREAD: &str = "ZonesSpread";
    /// TrayOrg: the API server has all network policies, quotas and the limit range as they are wanted.
    pub const ISOLATION_ENFORCED: &str = "IsolationEnforced";
    /// TrayOrg: its volumes are encrypted at rest, says their StorageClass. Never makes Ready false.
    pub const ENCRYPTION_ENFORCED: &str = "EncryptionEnforced";
    /// TrayOrg: what it uses fits what it is given. Never makes Ready false.
    pub const QUOTA_SATISFIED: &str = "QuotaSatisfied";
    /// TrayOrg: the newest run is good, nothing hinders the next, and what was pruned is removed.
    pub const BACKUP_HEALTHY: &str = "BackupHealthy";
    /// TrayOrg: the newest good consistency point is within the RPO.
    pub const RPO_MET: &str = "RpoMet";
    /// TrayOrg: a volume that once held data is gone or was replaced. Absent otherwise.
    pub const DATA_LOST: &str = "DataLost";
    /// TrayOrg: somebody else changes one of its objects again and again. Absent otherwise.
    pub const CHILD_CONTESTED: &str = "ChildContested";
    /// TrayOrg: its webhook host leads to its workload. Absent where no workload has `webhook`.
    pub const WEBHOOK_READY: &str = "WebhookReady";
    /// TrayOrg: support is let in; the message says who, for what and until when.
    pub const SUPPORT_ACCESS_ACTIVE: &str = "SupportAccessActive";

    /// SupportAccess: support is in.
    pub const ACTIVE: &str = "Active";
    /// SupportAccess: what became of it is in the org's access record.
    pub const ACCESS_RECORDED: &str = "AccessRecorded";

    /// OrgSnapshot: the run is committed.
    pub const COMMITTED: &str = "Committed";
    /// OrgRestore: everything is back.
    pub const RESTORED: &str = "Restored";
}

/// Reasons of conditions.
pub mod reasons {
    /// All is well.
    pub const AS_SPECIFIED: &str = "AsSpecified";
    /// Work goes on.
    pub const PROGRESSING: &str = "Progressing";
    /// A service the operator needs does not answer; it tries again.
    pub const RETRYING: &str = "Retrying";
    /// Not looked at yet.
    pub const NOT_OBSERVED: &str = "NotObserved";
    /// Kubernetes refused an object; the message names it.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// Somebody else changes an object again and again; the message names the object, the field and who it is.
    pub const CHILD_CONTESTED: &str = "ChildContested";

    /// No node carries the cloud region's label.
    pub const NO_NODES: &str = "NoNodes";
    /// Nodes carry the label, none of them is ready.
    pub const NODES_NOT_READY: &str = "NodesNotReady";
    /// Fewer zones than `minZones` have ready nodes.
    pub const TOO_FEW_ZONES: &str = "TooFewZones";
    /// `storage.storageClassName` names no StorageClass.
    pub const STORAGE_CLASS_MISSING: &str = "StorageClassMissing";
    /// The StorageClass does not say `reclaimPolicy: Retain`.
    pub const STORAGE_CLASS_NOT_RETAINED: &str = "StorageClassNotRetained";

    /// The bucket was asked and is what the spec says.
    pub const BUCKET_VERIFIED: &str = "BucketVerified";
    /// As [`BUCKET_VERIFIED`], against an endpoint that is not AWS.
    pub const BUCKET_VERIFIED_CUSTOM_ENDPOINT: &str = "BucketVerifiedCustomEndpoint";
    /// There is no such bucket.
    pub const BUCKET_NOT_FOUND: &str = "BucketNotFound";
    /// The operator may not read what it has to verify, or `bucketOwner` is not the owner.
    pub const BUCKET_ACCESS_DENIED: &str = "BucketAccessDenied";
    /// The bucket lies in another region than the spec says.
    pub const BUCKET_REGION_DIFFERS: &str = "BucketRegionDiffers";
    /// The bucket lies in the region itself: one disaster would take both.
    pub const BUCKET_IN_OWN_REGION: &str = "BucketInOwnRegion";
    /// The bucket lies in another jurisdiction.
    pub const BUCKET_OUTSIDE_JURISDICTION: &str = "BucketOutsideJurisdiction";
    /// Versioning, encryption, public access block, lifecycle, lock or replication is not as it must be.
    pub const BUCKET_NOT_SAFE: &str = "BucketNotSafe";
    /// What is removed from the bucket stays in it, or elsewhere: no clean-up of noncurrent versions or of unfinished uploads, MFA
    /// delete, or a replication that the Region does not name. The message says how each is put right.
    pub const BUCKET_NOT_HARDENED: &str = "BucketNotHardened";
    /// The ledger's key cannot be used.
    pub const LEDGER_KEY_UNUSABLE: &str = "LedgerKeyUnusable";

    /// This operator serves no Region of that name.
    pub const REGION_NOT_SERVED: &str = "RegionNotServed";
    /// The Region is another than the one the org was placed in.
    pub const REGION_CHANGED: &str = "RegionChanged";
    /// The Region's backup location is another than the one that holds the org's snapshots.
    pub const BACKUP_PLACE_CHANGED: &str = "BackupPlaceChanged";
    /// The Region takes no new orgs.
    pub const REGION_CORDONED: &str = "RegionCordoned";
    /// The Region is not ready.
    pub const REGION_NOT_READY: &str = "RegionNotReady";
    /// No RetentionPolicy of that name.
    pub const RETENTION_POLICY_MISSING: &str = "RetentionPolicyMissing";
    /// The policy keeps snapshots for less than a Production region demands.
    pub const RETENTION_TOO_SHORT: &str = "RetentionTooShort";
    /// Event: a TrayOrg was deleted although it is protected; everything stays as it is.
    pub const DELETION_BYPASSED: &str = "DeletionBypassed";
    /// Event: a TrayOrg was deleted while it could not be read; everything stays as it is.
    pub const DELETED_UNREAD: &str = "DeletedUnread";
    /// Event: what is kept is kept for a shorter time soon; the message says which, from when, and how to stop it.
    pub const REDUCTION_PENDING: &str = "ReductionPending";
    /// No BackupSchedule of that name.
    pub const BACKUP_SCHEDULE_MISSING: &str = "BackupScheduleMissing";
    /// The BackupSchedule's cron or time zone cannot be read.
    pub const BACKUP_SCHEDULE_INVALID: &str = "BackupScheduleInvalid";
    /// BackupSchedule: its cron text or its time zone cannot be used, or names no day that comes.
    pub const SCHEDULE_INVALID: &str = "ScheduleInvalid";
    /// An older TrayOrg, or what is held of one, has the same orgId.
    pub const ORG_ID_IN_USE: &str = "OrgIdInUse";
    /// `spec.orgId` is another than the org has had.
    pub const ORG_ID_CHANGED: &str = "OrgIdChanged";
    /// Data of an earlier org of that name is held; the message gives the `orgId:` line that takes it up.
    pub const RETAINED_DATA_EXISTS: &str = "RetainedDataExists";
    /// Data of an earlier org of that name is held, and nobody who may has allowed this one to take it up; the message gives
    /// the command that does.
    pub const REATTACH_NOT_ALLOWED: &str = "ReattachNotAllowed";
    /// What is held of the org lies in another Region.
    pub const REGION_MISMATCH: &str = "RegionMismatch";
    /// The namespace that held the org's volumes is gone, or is going.
    pub const NAMESPACE_LOST: &str = "NamespaceLost";
    /// A namespace of that name is there and is not this org's.
    pub const NAMESPACE_TAKEN: &str = "NamespaceTaken";
    /// A workload of the org has the name of one of the region's.
    pub const WORKLOAD_NAME_TAKEN: &str = "WorkloadNameTaken";
    /// An override names no workload of the region.
    pub const OVERRIDE_UNKNOWN: &str = "OverrideUnknown";
    /// An override and what it changes do not go together.
    pub const OVERRIDE_INVALID: &str = "OverrideInvalid";
    /// Two workloads of the org have `webhook`.
    pub const WEBHOOK_NOT_UNIQUE: &str = "WebhookNotUnique";
    /// A workload takes a Secret of the operator's as environment.
    pub const SECRET_RESERVED: &str = "SecretReserved";
    /// Another cluster claimed the org's ledger.
    pub const CLAIM_LOST: &str = "ClaimLost";
    /// The stored object cannot be read by this version.
    pub const MALFORMED: &str = "Malformed";
    /// The org is suspended.
    pub const SUSPENDED: &str = "Suspended";
    /// A restore of the org is under way.
    pub const RESTORING: &str = "Restoring";
    /// The org is being deleted.
    pub const DELETING: &str = "Deleting";

    /// A pod runs outside the pinned region.
    pub const POD_OUTSIDE_REGION: &str = "PodOutsideRegion";
    /// A volume of the org lies outside the pinned region.
    pub const VOLUME_OUTSIDE_REGION: &str = "VolumeOutsideRegion";
    /// The backup location lies elsewhere than the Region says.
    pub const BACKUP_OUTSIDE_REGION: &str = "BackupOutsideRegion";
    /// Every pod and every volume is in the pinned region.
    pub const ALL_IN_REGION: &str = "AllInRegion";
    /// The StorageClass encrypts its volumes.
    pub const ENCRYPTED: &str = "Encrypted";
    /// The StorageClass does not encrypt its volumes.
    pub const NOT_ENCRYPTED: &str = "NotEncrypted";
    /// Nothing says whether it is so.
    pub const NOT_SAID: &str = "NotSaid";
    /// Pods run in as many zones as they can.
    pub const SPREAD: &str = "Spread";
    /// Pods run in fewer zones than they could.
    pub const FEWER_ZONES: &str = "FewerZones";
    /// The region has ready nodes in one zone only, or in none.
    pub const ONE_ZONE: &str = "OneZone";
    /// No workload should run more than one pod.
    pub const NOTHING_TO_SPREAD: &str = "NothingToSpread";
    /// Replicas are not available yet.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// A change of the region's workloads goes no further: an org that has it fails.
    pub const ROLLOUT_STOPPED: &str = "RolloutStopped";
    /// An image cannot be pulled.
    pub const IMAGE_UNAVAILABLE: &str = "ImageUnavailable";
    /// A Secret of `envFromSecrets` is not there.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// A container ends again and again.
    pub const CRASHING: &str = "Crashing";
    /// A pod fits no node of the region.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// The quota has no room for a pod.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// The org is given less than it uses.
    pub const QUOTA_BELOW_USE: &str = "QuotaBelowUse";
    /// The API server has what isolates the org.
    pub const ACKNOWLEDGED: &str = "Acknowledged";
    /// The API server has not everything that isolates the org, or not as it is wanted.
    pub const NOT_ACKNOWLEDGED: &str = "NotAcknowledged";
    /// A claim that held data is gone or was replaced.
    pub const VOLUME_REPLACED: &str = "VolumeReplaced";

    /// A workload has `webhook`, and the Region has no `ingress`.
    pub const INGRESS_MISSING: &str = "IngressMissing";
    /// The operator was installed without webhooks.
    pub const WEBHOOKS_DISABLED: &str = "WebhooksDisabled";
    /// The cluster does not serve the kinds of the Gateway API that webhooks need.
    pub const GATEWAY_API_MISSING: &str = "GatewayApiMissing";
    /// The Gateway has not answered for the route yet.
    pub const ROUTE_PENDING: &str = "RoutePending";
    /// The Gateway takes the route.
    pub const ROUTE_ACCEPTED: &str = "RouteAccepted";
    /// The Gateway does not take the route, or not all of it.
    pub const ROUTE_REFUSED: &str = "RouteRefused";

    /// No run has been committed yet.
    pub const NO_SNAPSHOT_YET: &str = "NoSnapshotYet";
    /// The newest run is good.
    pub const LAST_RUN_GOOD: &str = "LastRunGood";
    /// The newest run is committed, yet a person has to look at it.
    pub const LAST_RUN_SUSPICIOUS: &str = "LastRunSuspicious";
    /// The newest run failed.
    pub const LAST_RUN_FAILED: &str = "LastRunFailed";
    /// The newest good copy is recent enough.
    pub const WITHIN_RPO: &str = "WithinRpo";
    /// The deadline is nearer than a run takes.
    pub const RPO_AT_RISK: &str = "RpoAtRisk";
    /// The newest good copy is too old.
    pub const RPO_BREACHED: &str = "RpoBreached";

    /// Nobody of support is let in.
    pub const NO_SUPPORT_ACCESS: &str = "NoSupportAccess";
    /// Support was let in.
    pub const SUPPORT_GRANTED: &str = "SupportGranted";
    /// The time of a grant is over.
    pub const SUPPORT_EXPIRED: &str = "SupportExpired";
    /// A grant was deleted.
    pub const SUPPORT_REMOVED: &str = "SupportRemoved";
    /// A grant was closed before its time.
    pub const SUPPORT_CLOSED: &str = "SupportClosed";
    /// A subject is no group of support staff.
    pub const SUBJECT_NOT_ALLOWED: &str = "SubjectNotAllowed";
    /// Everything is in the access record.
    pub const RECORDED: &str = "Recorded";
    /// The Region names no log bucket.
    pub const NO_LOG_LOCATION: &str = "NoLogLocation";
    /// The Region's log bucket is not known to be what its spec says.
    pub const LOG_LOCATION_NOT_VERIFIED: &str = "LogLocationNotVerified";

    /// A hook failed.
    pub const HOOK_FAILED: &str = "HookFailed";
    /// A hook has run for more than half of its time; the message says where, since when and until when.
    pub const HOOK_HANGS: &str = "HookHangs";
    /// A mover does not begin: no pod of it is made, no node takes it, or its container cannot be made.
    pub const MOVER_NOT_STARTED: &str = "MoverNotStarted";
    /// A mover failed.
    pub const MOVER_FAILED: &str = "MoverFailed";
    /// Pods hold a claim that a restore replaces. Event: one that had ended was removed.
    pub const CLAIM_HELD: &str = "ClaimHeld";
    /// A restore waited for something longer than it may; the message says for what.
    pub const TOOK_TOO_LONG: &str = "TookTooLong";
    /// The data of a restore is back, and the workloads did not become available in time.
    pub const WORKLOADS_UNAVAILABLE: &str = "WorkloadsUnavailable";
    /// Event: an OrgRestore was deleted before it had ended.
    pub const RESTORE_DELETED: &str = "RestoreDeleted";
    /// The wrapped master key of an org is missing, or is not the one that its ledger names: no copy can be opened.
    pub const KEY_MISSING: &str = "KeyMissing";
    /// The API server, or a webhook that it asked, did not take some objects of a restore back.
    pub const OBJECTS_REFUSED: &str = "ObjectsRefused";
    /// The KMS key of an org, or of all orgs of a Region, cannot be used.
    pub const KEY_UNUSABLE: &str = "KeyUnusable";
    /// The bucket refused or did not answer.
    pub const BUCKET_UNAVAILABLE: &str = "BucketUnavailable";
    /// The org's ledger in the bucket cannot be believed; nothing is decided on it.
    pub const LEDGER_INVALID: &str = "LedgerInvalid";
    /// A newer version of the operator has gone on with the org's ledger; this one decides nothing on it.
    pub const LEDGER_NEWER: &str = "LedgerNewer";
    /// The org has snapshots, or was deleted and is back, and there is no ledger of it where they should be.
    pub const LEDGER_MISSING: &str = "LedgerMissing";
    /// The Region names no role that movers could assume.
    pub const MOVER_ROLE_MISSING: &str = "MoverRoleMissing";
    /// Waits for its turn.
    pub const WAITING: &str = "Waiting";
    /// Nothing is removed: clocks disagree, or the plan would take too much.
    pub const PRUNING_STOPPED: &str = "PruningStopped";
    /// No sweep has ended well for a day since one was due: what was pruned stays in the bucket.
    pub const PRUNING_FAILED: &str = "PruningFailed";
    /// There is no such org.
    pub const ORG_MISSING: &str = "OrgMissing";
    /// The org is not placed yet.
    pub const ORG_NOT_PLACED: &str = "OrgNotPlaced";
    /// Another run or restore of the org is under way.
    pub const ORG_BUSY: &str = "OrgBusy";
    /// The org's ledger holds no such run that could be restored.
    pub const RUN_NOT_FOUND: &str = "RunNotFound";
    /// What was snapshotted in production would come into a Region that is none.
    pub const PRODUCTION_DATA: &str = "ProductionData";
    /// The run was pruned.
    pub const RUN_PRUNED: &str = "RunPruned";
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_type_is_in_the_documentation() {
        let docs = include_str!("../../../docs/operations.md");
        let (types, _) = include_str!("conditions.rs")
            .split_once("pub mod reasons")
            .unwrap();
        let named = types.split("&str = \"").skip(1);
        let named: Vec<&str> = named.map(|text| text.split('"').next().unwrap()).collect();
        assert!(named.len() > 20, "{named:?}");
        for type_ in named {
            assert!(docs.contains(&format!("`{type_}`")), "{type_}");
        }
    }
}
