//! The operator as a process: puts the parts together, stands for election, works while it leads, and ends in order.

use std::{error::Error, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tracing::{error, info};
use tray_api::{backup_schedule::BackupSchedule, kinds::Kind, retention_policy::RetentionPolicy};
use tray_ports::{Clock, RegionPorts};

use crate::{
    adapters::{
        aws_client::AwsClients,
        aws_regions::AwsRegions,
        clock::SystemClock,
        kube::{
            client::{self, Connections},
            leader::{Election, LeaseLook},
        },
    },
    config::{RunArgs, Settings},
    controllers::{
        Driver,
        backup::BackupDriver,
        context::{Context, Parts},
        heartbeat::HeartbeatDriver,
        malformed::MalformedObjects,
        org::OrgDriver,
        reference_counts::ReferenceCountDriver,
        region::RegionDriver,
        run,
        support::SupportDriver,
        watches,
    },
    telemetry::{logs, metrics::Metrics, readiness::Readiness, server},
};

/// How long what comes before all controllers may take: whatever fails is the controllers' own to try again.
const FIRST: Duration = Duration::from_secs(20);
/// How long reconciles that are under way at the end may take to finish.
const FAREWELL: Duration = Duration::from_secs(20);

/// Runs until the process is told to stop, or leads no more.
pub fn run(args: RunArgs) -> Result<(), Box<dyn Error>> {
    logs::start(&args.log)?;
    let settings = Settings::try_from(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(operate(args, settings));
    // What blocks a thread must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Every controller.
pub fn drivers() -> Vec<Arc<dyn Driver>> {
    let mut drivers: Vec<Arc<dyn Driver>> = vec![
        Arc::new(MalformedObjects::default()),
        Arc::new(HeartbeatDriver::default()),
    ];
    drivers.extend(Kind::ALL.into_iter().filter_map(driver));
    drivers
}

/// What looks after the objects of a kind, unless that is the driver of another one.
fn driver(kind: Kind) -> Option<Arc<dyn Driver>> {
    Some(match kind {
        Kind::Region => Arc::new(RegionDriver::default()),
        Kind::RetentionPolicy => Arc::new(ReferenceCountDriver::<RetentionPolicy>::default()),
        Kind::BackupSchedule => Arc::new(ReferenceCountDriver::<BackupSchedule>::default()),
        Kind::TrayOrg => Arc::new(OrgDriver::default()),
        Kind::OrgSnapshot => Arc::new(BackupDriver::default()),
        Kind::SupportAccess => Arc::new(SupportDriver::default()),
        // One driver works on an org's copies: that of its snapshots. A tombstone is a record that the orgs' own driver
        // writes and removes.
        Kind::OrgRestore | Kind::OrgTombstone => return None,
    })
}

async fn operate(args: RunArgs, settings: Settings) -> Result<(), Box<dyn Error>> {
    let mut stop = Box::pin(told_to_stop()?);
    let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
    let listener = server::bind(args.listen).await?;
    let answering = tokio::spawn(server::serve(listener, metrics.clone(), readiness.clone()));

    let connections = Connections::infer(&metrics).await?;
    let cluster_uid = client::cluster_uid(&connections.calls).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let regions: Arc<dyn RegionPorts> = Arc::new(connect_aws(&args, &settings, clock.clone()).await?);

    let mut election = Election::stand(connections.watches.clone(), &args.identity).await?;
    info!(identity = args.identity, "waiting to lead");
    tokio::select! {
        () = election.won() => {}
        () = &mut stop => {
            election.resign().await;
            return Ok(());
        }
    }
    let holder = claimant(&args.identity);
    info!(identity = args.identity, holder, "leading");
    metrics.leading.set(1);
    let leadership = LeaseLook::new(
        connections.calls.clone(),
        &args.identity,
        holder,
        clock.clone(),
        metrics.clone(),
    );

    let ctx = Arc::new(Context::new(Parts {
        connections,
        identity: args.identity,
        regions,
        clock,
        settings,
        cluster_uid,
        leadership: Arc::new(leadership),
        metrics,
    }));
    let (end, ends) = watch::channel(false);
    let controllers = tokio::spawn(control(drivers(), ctx, readiness, ends));

    let outcome = tokio::select! {
        () = &mut stop => {
            info!("told to stop");
            Ok(())
        }
        // Whoever leads now must not be disturbed: at once, without a farewell.
        () = election.lost() => return Err("leads no more: another process holds the Lease".into()),
        answered = answering => Err(format!("the server of /livez, /readyz and /metrics ended: {answered:?}").into()),
    };
    let _ = end.send(true);
    if tokio::time::timeout(FAREWELL, controllers).await.is_err() {
        error!("reconciles were still under way at the end: they are done anew by whoever leads next");
    }
    election.resign().await;
    outcome
}

/// What this process is called in the claims that it makes: a container that is started anew in its pod is another one.
fn claimant(identity: &str) -> String {
    let process = uuid::Uuid::new_v4().simple().to_string();
    format!("{identity}/{}", process.get(..8).unwrap_or_default())
}

/// The services of backup locations, with the operator's own credentials.
async fn connect_aws(
    args: &RunArgs,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<AwsRegions, Box<dyn Error>> {
    let clients = AwsClients::with_default_credentials(settings.ca_bundle.as_deref(), clock).await?;
    Ok(AwsRegions::new(
        clients.with_web_identity_token(args.web_identity_token.clone()),
    ))
}

/// Starts the watches, and once all is known what has to come first, then every driver; ends when `ends` says so and what was in hand is done.
pub async fn control(
    drivers: Vec<Arc<dyn Driver>>,
    ctx: Arc<Context>,
    readiness: Arc<Readiness>,
    mut ends: watch::Receiver<bool>,
) {
    // Subscribed before anything is known, so that no change is lost.
    let queues: Vec<_> = drivers
        .iter()
        .map(|driver| run::subscribe(driver, &ctx))
        .collect();
    // Kept until the end: dropping them stops the watches.
    let watches = watches::start(&ctx, &readiness);
    tokio::select! {
        biased;
        _ = ends.wait_for(|ends| *ends) => return,
        () = readiness.wait() => {}
    }
    info!(
        orgs = ctx.index.orgs.names().len(),
        regions = ctx.index.regions.names().len(),
        "everything that is watched is known"
    );
    let first = drivers.iter().map(|driver| driver.begin(&ctx));
    if tokio::time::timeout(FIRST, join_all(first)).await.is_err() {
        error!("what has to come first is not done: the controllers begin all the same");
    }
    let mut running = JoinSet::new();
    for (driver, queue) in drivers.into_iter().zip(queues) {
        running.spawn(run::run(driver, ctx.clone(), queue, ends.clone()));
    }
    while running.join_next().await.is_some() {}
    drop(watches);
}

/// Ends at SIGTERM or SIGINT.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
