//! A mover as a process: puts its ports together out of its task, and ends with the exit code that its Job understands.

use std::{process::ExitCode, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tray_domain::mover_task::{Action, FailureReason, MoverTask};
use tray_engine::{BlobStore, RusticEngine};
use tray_mover::{Bucket, Places, Ports, failure::Failure, ports::NamespaceObjects};

use crate::{
    adapters::{
        aws_client::AwsClients, blob_store::S3Blobs, clock::SystemClock, kms::KmsKeys,
        kube::namespace_objects::KubeNamespaceObjects, ledger_reader::TaskLedger,
        mover_credentials::FileCredentials, s3::S3Store, s3_bucket::S3Bucket,
    },
    config::MoverArgs,
    telemetry::logs,
};

/// Runs one mover to its end.
pub fn run(args: MoverArgs) -> ExitCode {
    if let Err(error) = logs::start(&args.log) {
        eprintln!("tray-operator: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tray-operator: failed to start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(tray_mover::run(
        Places::of_pod(args.pod_uid),
        connect,
        told_to_stop(),
    ));
    // A mover that was told to stop leaves a thread in the middle of its work: it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Ends when the kubelet ends the pod.
async fn told_to_stop() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        // Then the kubelet kills it after its grace period, which is as safe.
        Err(error) => {
            tracing::warn!("SIGTERM cannot be heard: {error}");
            std::future::pending::<()>().await;
        }
    }
}

/// The ports of a task, with the session's credentials and nothing of the process's surroundings.
pub async fn connect(
    task: &MoverTask,
    places: &Places,
    ca_bundle: Option<Vec<u8>>,
) -> Result<Ports, Failure> {
    let clock = Arc::new(SystemClock);
    let credentials = FileCredentials::new(places.credentials());
    let clients = AwsClients::new(credentials, ca_bundle.as_deref(), clock.clone())
        .map_err(|error| Failure::permanent(FailureReason::TaskInvalid, error.to_string()).withheld())?;
    let unusable = |error: tray_ledger::RemoteError| {
        Failure::permanent(FailureReason::TaskInvalid, error.to_string()).withheld()
    };
    let bucket = S3Bucket::connect(&clients, &task.location).map_err(unusable)?;
    let keys = KmsKeys::new(&clients, &task.location).map_err(unusable)?;
    let store = S3Store::new(&clients, &task.location).map_err(unusable)?;
    Ok(Ports {
        engine: Arc::new(RusticEngine),
        bucket: Arc::new(TaskBucket(S3Blobs::new(
            bucket,
            task.kms_key_arn.clone(),
            Handle::current(),
        ))),
        keys: Arc::new(keys),
        ledger: Arc::new(TaskLedger::new(Arc::new(store), task)),
        objects: objects(&task.action).await?,
        clock,
    })
}

/// Only the objects parts have a token for the Kubernetes API.
async fn objects(action: &Action) -> Result<Option<Arc<dyn NamespaceObjects>>, Failure> {
    let (Action::SnapshotObjects { namespace, .. } | Action::RestoreObjects { namespace, .. }) = action
    else {
        return Ok(None);
    };
    let client = Client::try_default().await.map_err(|error| {
        Failure::passing(
            FailureReason::KubernetesFailed,
            format!("the API server cannot be reached as the pod's service account: {error}"),
        )
        .withheld()
    })?;
    Ok(Some(Arc::new(KubeNamespaceObjects::new(client, namespace))))
}

struct TaskBucket(S3Blobs);

impl Bucket for TaskBucket {
    fn at(&self, prefix: &str) -> Arc<dyn BlobStore> {
        Arc::new(self.0.at(prefix))
    }
}
