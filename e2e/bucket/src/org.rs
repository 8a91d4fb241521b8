//! An org's part of its bucket, and movers that run in this process.

use std::{fs, path::Path, path::PathBuf, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use tempfile::TempDir;
use tray_api::{region::Region, trayorg::TrayOrg};
use tray_domain::{
    ids::{KmsKeyArn, OrgId, PartId, SweepId},
    ledger::{LedgerState, OpenRestore, Work},
    mover_lifetime::CREDENTIALS_LIFETIME,
    mover_task::{Action, BucketLocation, MoverOutcome, MoverTask},
    session_policy::{SessionScope, session_policy},
};
use tray_ledger::{BY_HAND, Leadership, LeaseUnknown, Ledger, LedgerStore, RemoteError, Term, Writer};
use tray_mover::{Places, Session, ports::LedgerReader};
use tray_operator::{
    adapters::{
        aws_client::AwsClients, aws_regions::AwsRegions, clock::SystemClock, kube::client::cluster_uid,
        mover_credentials::FileCredentials,
    },
    controllers::view::region::bucket_location,
    mover_process,
};
use tray_ports::{Clock, RegionPorts, RegionServices};
use uuid::Uuid;

use crate::Failed;

/// The cluster and AWS, as the operator reaches them.
pub(crate) struct Access {
    client: Client,
    regions: AwsRegions,
    ca_bundle: Vec<u8>,
}

impl Access {
    /// By KUBECONFIG, and with the operator's role.
    pub(crate) async fn connect(ca_bundle: &Path, web_identity_token: PathBuf) -> Result<Self, Failed> {
        let ca_bundle = fs::read(ca_bundle)
            .map_err(|error| format!("failed to read {}: {error}", ca_bundle.display()))?;
        let clients = AwsClients::with_default_credentials(Some(&ca_bundle), Arc::new(SystemClock)).await?;
        Ok(Self {
            client: Client::try_default().await?,
            regions: AwsRegions::new(clients.with_web_identity_token(Some(web_identity_token))),
            ca_bundle,
        })
    }
}

/// One org's part of its bucket.
pub(crate) struct Org {
    /// Name of the TrayOrg.
    pub name: String,
    /// Its id.
    pub id: OrgId,
    /// Its namespace.
    pub namespace: String,
    /// Its bucket.
    pub location: BucketLocation,
    /// Bucket, KMS and STS with the operator's rights.
    pub services: RegionServices,
    /// Its ledger, held by this cluster.
    pub ledger: Ledger,
    /// Its key.
    pub key: KmsKeyArn,
    /// UID of the cluster.
    pub cluster_uid: String,
    mover_role_arn: String,
    ledger_key: KmsKeyArn,
    /// PEM certificates to trust besides the system's.
    pub ca_bundle: Vec<u8>,
}

/// Folders of one mover. They go with this value.
pub(crate) struct Folders {
    root: TempDir,
}

impl Folders {
    /// Empty ones.
    pub(crate) fn make() -> Result<Self, Failed> {
        let root = TempDir::new()?;
        for name in ["task", "volume", "cache"] {
            fs::create_dir(root.path().join(name))?;
        }
        Ok(Self { root })
    }

    /// What stands for the org's volume.
    pub(crate) fn volume(&self) -> PathBuf {
        self.root.path().join("volume")
    }
}

/// Who writes by hand: it claims, and the operator claims anew behind it.
struct ByHand(String);

#[async_trait::async_trait]
impl Leadership for ByHand {
    fn holder(&self) -> &str {
        &self.0
    }

    async fn term(&self) -> Result<Option<Term>, LeaseUnknown> {
        Ok(Some(Term(String::new())))
    }
}

impl Org {
    /// The org of that name, which this cluster has placed and copied at least once.
    pub(crate) async fn find(access: &Access, name: &str) -> Result<Self, Failed> {
        let missing = |what: &str| format!("TrayOrg {name} has no {what}: is it Ready?");
        let org = Api::<TrayOrg>::all(access.client.clone()).get(name).await?;
        let status = org.status.ok_or_else(|| missing("status"))?;
        let id: OrgId = status.org_id.ok_or_else(|| missing("status.orgId"))?.parse()?;
        let pinned = status.region.ok_or_else(|| missing("status.region"))?;
        let region = Api::<Region>::all(access.client.clone())
            .get(&pinned.name)
            .await?;
        let backup = &region.spec.backup;
        let location = bucket_location(backup);
        let services = access.regions.services(&location)?;
        let cluster_uid = cluster_uid(&access.client).await?;
        let writer = Writer {
            cluster_uid: cluster_uid.clone(),
            leadership: Arc::new(ByHand(format!("{BY_HAND}tray-bucket/{}", Uuid::new_v4()))),
        };
        let ledger_key: KmsKeyArn = backup.kms.ledger_key_arn.parse()?;
        let ledger = LedgerStore::new()
            .open(
                services.store.clone(),
                &location.prefix,
                ledger_key.clone(),
                id.clone(),
                &writer,
            )
            .await?;
        Ok(Self {
            key: ledger
                .state()
                .kms_key_arn
                .clone()
                .ok_or_else(|| missing("key in its ledger"))?,
            name: name.to_owned(),
            namespace: status.namespace.ok_or_else(|| missing("status.namespace"))?,
            mover_role_arn: backup
                .mover_role_arn
                .clone()
                .ok_or_else(|| format!("Region {} has no spec.backup.moverRoleArn", pinned.name))?,
            ledger_key,
            ca_bundle: access.ca_bundle.clone(),
            id,
            location,
            services,
            ledger,
            cluster_uid,
        })
    }

    /// A mover in `folders`, with the credentials that the operator would give it, at the time of `clock`.
    pub(crate) async fn mover(
        &self,
        folders: &Folders,
        scope: &SessionScope,
        action: Action,
        clock: Arc<dyn Clock>,
    ) -> Result<Session, Failed> {
        let policy = session_policy(scope, &self.location, &self.id, &self.key, &self.ledger_key)?;
        let name = format!("tray-bucket-{}", self.name);
        let credentials = self
            .services
            .sessions
            .assume(&self.mover_role_arn, &name, &policy, CREDENTIALS_LIFETIME)
            .await?;
        let places = Places {
            task: folders.root.path().join("task"),
            volume: folders.volume(),
            cache: folders.root.path().join("cache"),
            termination_log: folders.root.path().join("termination-log"),
            pod_uid: Uuid::new_v4().to_string(),
        };
        fs::write(places.credentials(), serde_json::to_vec(&credentials)?)?;
        let task = MoverTask {
            org_id: self.id.clone(),
            location: self.location.clone(),
            kms_key_arn: self.key.clone(),
            action,
        };
        let mut ports = mover_process::connect(&task, &places, Some(self.ca_bundle.clone())).await?;
        ports.clock = clock;
        Ok(Session { ports, task, places })
    }

    /// A mover that may read the repository of one volume.
    pub(crate) async fn reader(&self, folders: &Folders, volume: &PartId) -> Result<Session, Failed> {
        let scope = SessionScope::RestoreVolume {
            volume: volume.clone(),
        };
        // Any task will do: what it reads it is asked for.
        let now = SystemClock.now();
        let nothing = Action::Prune {
            sweep_id: SweepId::of(now, &self.id),
            planned_at: now,
            volumes: Vec::new(),
            remove: Vec::new(),
            keep_delete_hours: 0,
            keep_pack_hours: 0,
        };
        self.mover(folders, &scope, nothing, Arc::new(SystemClock)).await
    }

    /// AWS with the credentials of a mover.
    pub(crate) fn clients(&self, mover: &Session) -> Result<AwsClients, Failed> {
        let credentials = FileCredentials::new(mover.places.credentials());
        Ok(AwsClients::new(
            credentials,
            Some(&self.ca_bundle),
            Arc::new(SystemClock),
        )?)
    }

    /// Runs a mover to its end.
    pub(crate) async fn perform(
        &self,
        folders: &Folders,
        scope: &SessionScope,
        action: Action,
        clock: Arc<dyn Clock>,
    ) -> Result<MoverOutcome, Failed> {
        let mut session = self.mover(folders, scope, action, clock).await?;
        if let Work::Restore { restore, run_id } = session.task.action.work() {
            let open = OpenRestore {
                restore: restore.to_owned(),
                run_id: run_id.clone(),
                planned_at: SystemClock.now(),
            };
            session.ports.ledger = Arc::new(Beside {
                ledger: session.ports.ledger.clone(),
                open,
            });
        }
        Ok(tray_mover::perform(session).await?)
    }
}

/// The org's ledger, as if this restore were open in it: what a copy holds is looked at beside whatever the operator does.
struct Beside {
    ledger: Arc<dyn LedgerReader>,
    open: OpenRestore,
}

#[async_trait::async_trait]
impl LedgerReader for Beside {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        let mut state = self.ledger.read().await?;
        state.restore = Some(self.open.clone());
        Ok(state)
    }
}

/// The machine's clock, some days ago.
pub(crate) struct DaysAgo(pub u32);

impl Clock for DaysAgo {
    fn now(&self) -> Timestamp {
        SystemClock.now() - SignedDuration::from_hours(24 * i64::from(self.0))
    }
}
