//! What is done to whom, and what it took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde::Serialize;
use serde_json::{Value, json};
use tray_api::trayorg::TrayOrg;
use tray_operator::{adapters::kube::apply::api_resource, resources::child::ChildKind};

use super::{
    audit::{Request, Requests, WRITES},
    cluster::{CONTESTANT, Cluster, PLATFORM},
    contestant::S3_REQUESTS,
    population,
    process::{Process, Usage},
};

/// Changes and repairs that are timed: enough for a 99th percentile that no single one of them makes.
const SAMPLES: usize = 200;

/// All orgs made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Provisioned {
    /// From the first write until every child exists.
    pub children_seconds: f64,
    /// Until every status is written.
    pub settled_seconds: f64,
    pub writes_per_org: f64,
    pub reads: usize,
    pub requests: BTreeMap<String, usize>,
    /// Of the ghost none.
    pub s3_requests: u64,
    /// Milliseconds an org.
    pub cpu_of_server: f64,
    pub cpu_of_etcd: f64,
    pub cpu_of_contestant: f64,
    pub contestant: Usage,
}

/// Many changes of one sort, one after the other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answers {
    pub p50_milliseconds: f64,
    pub p99_milliseconds: f64,
    /// Writes for each change, those after the first answer too.
    pub writes: f64,
    pub reads: usize,
}

/// Nothing happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Idle {
    pub requests_per_minute: f64,
    pub cpu_percent: f64,
    pub usage: Usage,
}

/// Started anew over all orgs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restarted {
    /// From the start of the process until every org has been looked at.
    pub seconds: f64,
    pub writes: usize,
    pub requests: BTreeMap<String, usize>,
    pub s3_requests: u64,
    pub cpu_seconds: f64,
    pub at_once: Usage,
    pub later: Usage,
}

/// Everything about one run of the operator.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfOperator {
    pub provisioned: Provisioned,
    pub idle: Option<Idle>,
    pub changed: Option<Answers>,
    pub deleted: Option<Answers>,
    pub edited: Option<Answers>,
    /// One field changed, while another org fails again and again.
    pub beside_failing: Option<Answers>,
    pub restarted: Option<Restarted>,
}

/// Everything about one run of the ghost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfGhost {
    pub provisioned: Provisioned,
    pub changed: Option<Answers>,
    pub deleted: Option<Answers>,
}

/// One run of the ghost in a cluster of its own; `whole` = with changes and repairs.
pub(crate) async fn ghost(orgs: usize, whole: bool) -> OfGhost {
    let cluster = prepared(orgs).await;
    let (provisioned, process) = provision(&cluster, "ghost", orgs).await;
    drop(process);
    if !whole {
        return OfGhost {
            provisioned,
            changed: None,
            deleted: None,
        };
    }
    let mut follower = cluster.contestant(&["follower", &orgs.to_string()]);
    follower.hears("ready");
    let platform = cluster.client(PLATFORM).await;
    OfGhost {
        provisioned,
        changed: Some(change(&cluster, &platform, orgs, 77).await),
        deleted: Some(delete(&cluster, &platform, orgs).await),
    }
}

/// One run of the operator in a cluster of its own; `whole` = with all that comes after the orgs are there.
pub(crate) async fn operator(role: &str, orgs: usize, whole: bool, idle_for: Duration) -> OfOperator {
    let cluster = prepared(orgs).await;
    let (provisioned, process) = provision(&cluster, role, orgs).await;
    if !whole {
        return OfOperator {
            provisioned,
            idle: None,
            changed: None,
            deleted: None,
            edited: None,
            beside_failing: None,
            restarted: None,
        };
    }
    let platform = cluster.client(PLATFORM).await;
    let idle = idle(&cluster, &process, idle_for).await;
    let changed = change(&cluster, &platform, orgs, 77).await;
    let deleted = delete(&cluster, &platform, orgs).await;
    let edited = edit(&cluster, &platform, orgs).await;
    fail(&cluster, &platform, orgs).await;
    // The last org fails: the others are changed.
    let beside_failing = change(&cluster, &platform, orgs - 1, 78).await;
    mend(&cluster).await;
    drop(process);
    OfOperator {
        provisioned,
        idle: Some(idle),
        changed: Some(changed),
        deleted: Some(deleted),
        edited: Some(edited),
        beside_failing: Some(beside_failing),
        restarted: Some(restart(&cluster, role, orgs).await),
    }
}

async fn prepared(orgs: usize) -> Cluster {
    let cluster = Cluster::start().await;
    let (admin, platform) = (cluster.admin().await, cluster.client(PLATFORM).await);
    population::prepare(&admin, &platform, orgs).await;
    cluster
}

async fn provision(cluster: &Cluster, role: &str, orgs: usize) -> (Provisioned, Process) {
    let mut requests = cluster.requests(CONTESTANT);
    let before = (cluster.server.usage(), cluster.etcd.usage());
    let mut process = cluster.contestant(&[role, &orgs.to_string()]);
    process.hears("done");
    let usage = process.usage();
    let of =
        |now: Usage, before: Usage| (now.cpu_seconds - before.cpu_seconds) * 1_000.0 / orgs.max(1) as f64;
    let (server, etcd) = (
        of(cluster.server.usage(), before.0),
        of(cluster.etcd.usage(), before.1),
    );
    // What comes after the last status, if anything, counts too.
    tokio::time::sleep(Duration::from_secs(7)).await;
    requests.read();
    let s3_requests = if role == "ghost" {
        0
    } else {
        s3_requests(&mut process)
    };
    let writes: Vec<&Request> = requests
        .all
        .iter()
        .filter(|r| WRITES.contains(&r.verb.as_str()) && !r.is_of_a_lease())
        .collect();
    let began = writes.iter().map(|r| r.began).min().unwrap_or_default();
    let last = |these: &dyn Fn(&Request) -> bool| {
        let end = writes.iter().filter(|r| these(r)).map(|r| r.ended).max();
        end.map_or(0.0, |end| seconds(began, end))
    };
    let provisioned = Provisioned {
        children_seconds: last(&|r| r.verb == "create"),
        settled_seconds: last(&|r| r.verb == "create" || r.is("patch", "trayorgs/status")),
        writes_per_org: writes.len() as f64 / orgs.max(1) as f64,
        reads: requests.number(&["get", "list"]),
        requests: requests.counts(),
        s3_requests,
        cpu_of_server: server,
        cpu_of_etcd: etcd,
        cpu_of_contestant: usage.cpu_seconds * 1_000.0 / orgs.max(1) as f64,
        contestant: process.usage(),
    };
    (provisioned, process)
}

async fn idle(cluster: &Cluster, process: &Process, idle_for: Duration) -> Idle {
    let mut requests = cluster.requests(CONTESTANT);
    let before = process.usage();
    tokio::time::sleep(idle_for).await;
    let usage = process.usage();
    requests.read();
    Idle {
        requests_per_minute: requests.all.len() as f64 * 60.0 / idle_for.as_secs_f64(),
        cpu_percent: (usage.cpu_seconds - before.cpu_seconds) * 100.0 / idle_for.as_secs_f64(),
        usage,
    }
}

/// One field of one org: its quota.
async fn change(cluster: &Cluster, platform: &Client, orgs: usize, pods: u32) -> Answers {
    let api: Api<TrayOrg> = Api::all(platform.clone());
    answers(cluster, orgs, ("patch", "resourcequotas"), async |number| {
        let patch = Patch::Merge(json!({"spec": {"quota": {"pods": pods}}}));
        api.patch(&population::name(number), &PatchParams::default(), &patch)
            .await
            .unwrap();
    })
    .await
}

/// A child is deleted.
async fn delete(cluster: &Cluster, platform: &Client, orgs: usize) -> Answers {
    answers(cluster, orgs, ("create", "resourcequotas"), async |number| {
        let api = children(platform, ChildKind::ResourceQuota, number);
        api.delete("tray-objects", &DeleteParams::default())
            .await
            .unwrap();
    })
    .await
}

/// A child is edited.
async fn edit(cluster: &Cluster, platform: &Client, orgs: usize) -> Answers {
    answers(cluster, orgs, ("patch", "networkpolicies"), async |number| {
        let api = children(platform, ChildKind::NetworkPolicy, number);
        let opening: Value = json!({"spec": {"ingress": [{}]}});
        api.patch(
            "tray-default-deny",
            &PatchParams::default(),
            &Patch::Merge(opening),
        )
        .await
        .unwrap();
    })
    .await
}

/// Makes the last org fail from now on: its Service goes, and is refused.
async fn fail(cluster: &Cluster, platform: &Client, orgs: usize) {
    let number = orgs - 1;
    let mut requests = cluster.requests(CONTESTANT);
    population::refuse_services(&cluster.admin().await, number).await;
    let api = children(platform, ChildKind::Service, number);
    api.delete("db", &DeleteParams::default()).await.unwrap();
    let refused = |r: &Request| r.is("create", "services") && !r.succeeded();
    requests.until("a refusal", |all| all.iter().any(refused)).await;
}

/// Lets that org have its Service again, so that a restart finds nothing to do.
async fn mend(cluster: &Cluster) {
    let mut requests = cluster.requests(CONTESTANT);
    population::allow_services(&cluster.admin().await).await;
    let told = |r: &Request| r.is("patch", "trayorgs/status") && r.succeeded();
    requests.until("its status", |all| all.iter().any(told)).await;
}

fn children(client: &Client, kind: ChildKind, number: usize) -> Api<DynamicObject> {
    Api::namespaced_with(
        client.clone(),
        &population::namespace(number),
        &api_resource(kind),
    )
}

/// Does `act` to some orgs, one after the other, and times the answer: from the end of the platform's request until the
/// end of the contestant's.
async fn answers(
    cluster: &Cluster,
    orgs: usize,
    (verb, resource): (&str, &str),
    act: impl AsyncFn(usize),
) -> Answers {
    let (mut acts, mut answers) = (cluster.requests(PLATFORM), cluster.requests(CONTESTANT));
    let samples = SAMPLES.min(orgs);
    let mut times = Vec::new();
    for sample in 0..samples {
        let number = sample * orgs / samples;
        let namespace = population::namespace(number);
        act(number).await;
        let answered = |r: &Request| r.is(verb, resource) && r.namespace() == namespace && r.succeeded();
        answers.until("an answer", |all| all.iter().any(answered)).await;
        acts.until("the change", |all| all.len() > sample).await;
        let end = answers.all.iter().find(|r| answered(r)).map(|r| r.ended);
        times.push(seconds(acts.all[sample].ended, end.unwrap_or_default()) * 1_000.0);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    answers.read();
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Answers {
        p50_milliseconds: quantile(0.5),
        p99_milliseconds: quantile(0.99),
        writes: answers.number(&WRITES) as f64 / samples as f64,
        reads: answers.number(&["get", "list"]),
    }
}

async fn restart(cluster: &Cluster, role: &str, orgs: usize) -> Restarted {
    // The watches of the process before are told of when they end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut requests: Requests = cluster.requests(CONTESTANT);
    let began = Instant::now();
    let mut process = cluster.contestant(&[role, &orgs.to_string()]);
    process.hears("settled");
    let (seconds, at_once) = (began.elapsed().as_secs_f64(), process.usage());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let later = process.usage();
    let s3_requests = s3_requests(&mut process);
    // Watches are told of when they end.
    drop(process);
    tokio::time::sleep(Duration::from_secs(1)).await;
    requests.read();
    Restarted {
        seconds,
        writes: requests.number(&WRITES),
        requests: requests.counts(),
        s3_requests,
        cpu_seconds: at_once.cpu_seconds,
        at_once,
        later,
    }
}

/// How often S3 was asked since the process was started.
fn s3_requests(process: &mut Process) -> u64 {
    process.hears(S3_REQUESTS).parse().unwrap()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
