//! The operator's controllers, running in this process against the API server of the tests, with the rights and under
//! the policies of the chart. No kubelet and no controller of Kubernetes runs there: tests play their part.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex},
    thread,
};

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tray_api::crds;
use tray_operator::{
    adapters::{
        clock::SystemClock,
        kube::client::{Connections, cluster_uid},
    },
    config::Settings,
    controllers::{
        Driver,
        context::{Context, Parts},
    },
    operator::control,
    telemetry::metrics::Metrics,
};
use tray_ports::Clock;
use tray_testkit::lease::MemoryLease;

use super::{
    api_server::{self, ApiServer},
    chart,
    operator::MemoryRegions,
    requests, tools,
};

/// Whom the policies exempt.
pub(crate) const OPERATOR: &str = "system:serviceaccount:tray-system:tray-operator";
/// The chart's value of the groups of support; the operator of the tests knows the first two.
pub(crate) const SUPPORT_GROUPS: &str = r#"--set-json=supportGroups=["support","sre","dismissed"]"#;
/// Groups of that account.
const GROUPS: [&str; 3] = [
    "system:serviceaccounts",
    "system:serviceaccounts:tray-system",
    "system:authenticated",
];

/// A running operator.
pub(crate) struct Operator {
    /// What its controllers share.
    pub ctx: Arc<Context>,
    /// Its AWS.
    pub regions: Arc<MemoryRegions>,
    thread: thread::JoinHandle<()>,
}

/// What its threads are called.
const THREAD: &str = "operator";
/// Where its threads panicked, and those of any other operator of the process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Installs the chart but its Deployment.
pub(crate) async fn install(client: &Client) {
    for crd in crds::all_crds() {
        api_server::apply(client, &serde_json::to_value(crd).unwrap()).await;
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}});
    api_server::apply(client, &namespace).await;
    for object in chart::render(&[SUPPORT_GROUPS, "--set=webhooks.enabled=true"]).unwrap() {
        if !matches!(
            object["kind"].as_str(),
            Some("Deployment" | "CustomResourceDefinition")
        ) {
            api_server::apply(client, &object).await;
        }
    }
}

/// Installs what an upgrade of the chart adds: policies that complete orgs as they are created. Returns when they do; until
/// then the API server may refuse orgs.
pub(crate) async fn upgrade(client: &Client) {
    for object in chart::mutating_policies(&chart::UPGRADE) {
        api_server::apply(client, &object).await;
    }
    let probe = super::orgs::object("TrayOrg", "probe", &json!({"plan": "Pro"}));
    let orgs = api_server::api_of(client, &probe).await.unwrap();
    let in_force = api_server::eventually(async || {
        let made = super::objects::dry_run(&orgs, &probe).await.ok()?.metadata;
        let is_marked = made.annotations?.contains_key("platform.tray.ai/reattach");
        (is_marked && made.finalizers.is_some()).then_some(())
    });
    assert!(in_force.await.is_some(), "the mutating policies are not in force");
}

/// Has the cluster serve what webhooks need of the Gateway API.
pub(crate) async fn gateway_api(client: &Client) {
    for kind in ["httproutes", "referencegrants"] {
        let file = tools::program(&format!("gateway.networking.k8s.io_{kind}.yaml"));
        for crd in chart::documents(&std::fs::read_to_string(file).unwrap()) {
            api_server::apply(client, &crd).await;
        }
    }
}

/// A client that is the operator: what is only its to write, a test that plays it writes by this.
pub(crate) async fn client() -> Client {
    let server = api_server::shared().await;
    server.client_as(Some(OPERATOR), &GROUPS).await
}

/// The one operator of whoever includes these modules, with these drivers; the first caller starts it.
pub(crate) async fn shared(drivers: fn() -> Vec<Arc<dyn Driver>>) -> &'static Operator {
    static OPERATOR: OnceCell<Operator> = OnceCell::const_new();
    OPERATOR.get_or_init(|| start(drivers)).await
}

async fn start(drivers: fn() -> Vec<Arc<dyn Driver>>) -> Operator {
    let server = api_server::shared().await;
    install(&server.client().await).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let regions = Arc::new(MemoryRegions::default());
    let aws = regions.clone();
    note_panics();
    // On a runtime of its own: that of a test ends with the test.
    let work = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREAD)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let ctx = context(server, Arc::new(SystemClock), aws).await;
            let _ = tell.send(ctx.clone());
            let (_end, ends) = watch::channel(false);
            control(drivers(), ctx, Arc::default(), ends).await;
        });
    };
    let thread = thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(work)
        .unwrap();
    Operator {
        ctx: told.await.unwrap(),
        regions,
        thread,
    }
}

/// A controller catches what panics under it, and a task that ends so is missed by nobody: whatever happens on its
/// threads is noted before.
fn note_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some(THREAD) {
            PANICS.lock().unwrap().push(info.to_string());
        }
        before(info);
    }));
}

/// What controllers share that run with the operator's rights.
pub(crate) async fn context(
    server: &ApiServer,
    clock: Arc<dyn Clock>,
    regions: Arc<MemoryRegions>,
) -> Arc<Context> {
    let metrics = Arc::new(Metrics::default());
    let config = server.config_as(Some(OPERATOR), &GROUPS).await;
    let connections = Connections::with(config, &metrics).unwrap();
    Arc::new(Context::new(Parts {
        cluster_uid: cluster_uid(&connections.calls).await.unwrap(),
        connections,
        identity: "test".to_owned(),
        leadership: MemoryLease::held_by("test").process("test"),
        clock,
        regions,
        settings: Settings {
            concurrency: 4,
            api_server_ports: vec![443, 6443],
            support_groups: vec!["support".into(), "sre".into()],
            mover_image: "operator:test".into(),
            mover_image_pull_policy: None,
            ca_bundle: None,
            webhooks: true,
        },
        metrics,
    }))
}

/// Where the operator panicked so far: nowhere, one would hope.
pub(crate) fn panics() -> Vec<String> {
    PANICS.lock().unwrap().clone()
}

impl Operator {
    /// Whether it is still at work.
    pub(crate) fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Passes of its controllers so far.
    pub(crate) fn passes(&self) -> u64 {
        self.sum("tray_reconciles_total{")
    }

    /// Keys that are due, or were when their controller last ended a pass.
    pub(crate) fn queued(&self) -> u64 {
        self.sum("tray_queue_keys{")
    }

    fn sum(&self, metric: &str) -> u64 {
        let text = self.ctx.metrics.render().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(metric));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Requests of the operator so far, but for watches and the lists that begin them.
    pub(crate) fn requests(&self) -> u64 {
        let asked = requests::asked(&self.ctx.metrics);
        let counted = asked.iter().filter(|asked| !asked.is_of_a_watch());
        counted.map(|asked| asked.number).sum()
    }
}

/// The controllers of Kubernetes, as far as orgs wait for them: every workload of `namespace` gets what it asks for.
pub(crate) async fn play_kubernetes(client: &Client, namespace: &str) {
    for kind in ["StatefulSet", "Deployment"] {
        let shape = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"namespace": namespace}});
        let api: Api<DynamicObject> = api_server::api_of(client, &shape).await.unwrap();
        for workload in api.list(&ListParams::default()).await.unwrap() {
            let replicas = &workload.data["spec"]["replicas"];
            let wanted = json!({
                "observedGeneration": workload.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
                "readyReplicas": replicas, "availableReplicas": replicas,
            });
            let name = workload.metadata.name.clone().unwrap();
            if wanted.as_object().unwrap().iter().any(|(key, value)| {
                let found = &workload.data["status"][key];
                found != value && !(found.is_null() && *value == json!(0))
            }) {
                let patch = Patch::Merge(json!({"status": wanted}));
                // Changed or gone meanwhile: the next round sees it.
                let _ = api.patch_status(&name, &PatchParams::default(), &patch).await;
            }
        }
    }
}

/// The conditions of an object as type → (status, reason, message).
pub(crate) fn conditions(object: &Value) -> BTreeMap<String, (String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = object["status"]["conditions"].as_array().into_iter().flatten();
    list.map(|c| {
        (
            text(&c["type"]),
            (text(&c["status"]), text(&c["reason"]), text(&c["message"])),
        )
    })
    .collect()
}
