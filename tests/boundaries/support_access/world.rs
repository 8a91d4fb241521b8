//! What the tests share: one org's cluster, the controllers at work in it, and what is asked of both.

use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use k8s_openapi::api::{core::v1::Namespace, rbac::v1::RoleBinding};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::{MutexGuard, OnceCell};
use tray_api::{
    conditions::{reasons, types},
    support_access::SupportAccess,
    trayorg::TrayOrg,
};
use tray_domain::support::Action;
use tray_operator::controllers::{
    Driver, changes::Change, conditions::find, context::Context, org::OrgDriver, support::SupportDriver,
};

use super::support::{
    api_server::{self, api_of, eventually},
    clock::ShiftedClock,
    installed,
    operator::{self, MemoryRegions},
    orgs::{self, object},
    requests,
};

/// One org's cluster as a test sees it. Tests take turns: an operator sees every org.
pub(crate) struct World {
    _turn: MutexGuard<'static, ()>,
    pub client: Client,
    pub namespace: String,
    pub org: String,
    pub clock: Arc<ShiftedClock>,
    pub regions: Arc<MemoryRegions>,
}

/// Controllers at work.
pub(crate) struct Running {
    pub ctx: Arc<Context>,
    controllers: operator::Running,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.controllers.stop().await;
    }
}

pub(crate) fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(SupportDriver::default()), Arc::new(OrgDriver::default())]
}

impl World {
    /// With an org of that name, whose id begins with `digit` eight times.
    pub(crate) async fn new(org: &str, digit: char) -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let turn = TURN.lock().await;
        let server = api_server::shared().await;
        let client = server.client().await;
        INSTALLED.get_or_init(|| prepare(&client)).await;
        let id = digit.to_string().repeat(8);
        // Who the tests are.
        let owners = json!({"owners": [{"kind": "User", "name": "admin", "role": "Admin"}]});
        api_server::apply(&client, &orgs::org(org, &id, "eu", &owners)).await;
        Self {
            _turn: turn,
            client,
            namespace: format!("org-{org}-{id}"),
            org: org.to_owned(),
            clock: Arc::default(),
            regions: Arc::default(),
        }
    }

    pub(crate) async fn start(&self, drivers: Vec<Arc<dyn Driver>>) -> Running {
        let server = api_server::shared().await;
        let ctx = installed::context(server, self.clock.clone(), self.regions.clone()).await;
        let controllers = operator::Running::of(drivers, &ctx, &Arc::default());
        Running { ctx, controllers }
    }

    /// With the org's namespace in place.
    pub(crate) async fn at_work(&self) -> Running {
        let running = self.start(drivers()).await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let made = eventually(async || namespaces.get_opt(&self.namespace).await.unwrap());
        assert!(made.await.is_some(), "the org gets no namespace");
        running
    }

    pub(crate) fn put_clock_forward(&self, by: SignedDuration) {
        self.clock.put_forward(by);
    }

    pub(crate) fn grants(&self) -> Api<SupportAccess> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn grant(&self, name: &str, role: &str, groups: &[&str], hours: i32) -> SupportAccess {
        let access = serde_json::from_value(self.manifest(name, role, groups, hours)).unwrap();
        // The policies look at the namespace's labels, which are news to them for a moment.
        let made = eventually(async || self.grants().create(&PostParams::default(), &access).await.ok());
        made.await.expect("the SupportAccess is refused")
    }

    pub(crate) fn manifest(&self, name: &str, role: &str, groups: &[&str], hours: i32) -> Value {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|group| json!({"kind": "Group", "name": group}))
            .collect();
        let spec = json!({"subjects": subjects, "role": role, "durationHours": hours, "reason": "ticket 7"});
        let mut access = object("SupportAccess", name, &spec);
        access["metadata"]["namespace"] = self.namespace.clone().into();
        access
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.grants()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// The SupportAccess as soon as its condition is so.
    pub(crate) async fn until(&self, name: &str, type_: &str, status: &str, reason: &str) -> SupportAccess {
        let last = Mutex::new(None);
        let found = eventually(async || {
            let access = self.grants().get_opt(name).await.unwrap()?;
            let conditions = access
                .status
                .as_ref()
                .map(|s| s.conditions.clone())
                .unwrap_or_default();
            let met = find(&conditions, type_).is_some_and(|c| c.status == status && c.reason == reason);
            *last.lock().unwrap() = Some(conditions);
            met.then_some(access)
        })
        .await;
        found.unwrap_or_else(|| panic!("{type_} is not {status}, {reason}: {:#?}", last.lock().unwrap()))
    }

    pub(crate) async fn until_active(&self, name: &str) -> SupportAccess {
        self.until(name, types::ACTIVE, "True", reasons::SUPPORT_GRANTED)
            .await
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        let gone = eventually(async || self.grants().get_opt(name).await.unwrap().is_none().then_some(()));
        assert!(gone.await.is_some(), "{name} stays");
    }

    pub(crate) async fn binding(&self, name: &str) -> Option<RoleBinding> {
        self.binding_named(&format!("tray-support-{name}")).await
    }

    /// The binding of a grant in an org that hides its execution logs.
    pub(crate) async fn binding_without_logs(&self, name: &str) -> Option<RoleBinding> {
        self.binding_named(&format!("tray-logless-support-{name}")).await
    }

    async fn binding_named(&self, name: &str) -> Option<RoleBinding> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        bindings.get_opt(name).await.unwrap()
    }

    /// Awaits that the exec gate is told these groups.
    pub(crate) async fn until_announced(&self, groups: Option<&str>) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let last = Mutex::new(None);
        let told = eventually(async || {
            let namespace = namespaces.get(&self.namespace).await.unwrap();
            let value = namespace
                .annotations()
                .get("platform.tray.ai/support-access")
                .cloned();
            let met = value.as_deref() == groups;
            *last.lock().unwrap() = value;
            met.then_some(())
        });
        assert!(
            told.await.is_some(),
            "not {groups:?} but {:?}",
            last.lock().unwrap()
        );
    }

    /// The TrayOrg once its status lists these SupportAccesses.
    pub(crate) async fn until_listed(&self, names: &[&str]) -> TrayOrg {
        let orgs: Api<TrayOrg> = Api::all(self.client.clone());
        let found = eventually(async || {
            let org = orgs.get(&self.org).await.unwrap();
            let listed: Vec<_> = org
                .status
                .as_ref()?
                .support_access
                .iter()
                .map(|s| s.name.as_str())
                .collect();
            (listed == names).then_some(org)
        });
        found
            .await
            .unwrap_or_else(|| panic!("the status does not list {names:?}"))
    }

    pub(crate) async fn set_state(&self, state: &str) {
        self.change(&json!({"lifecycle": {"state": state}})).await;
    }

    /// Shows or hides the org's execution logs.
    pub(crate) async fn set_logs(&self, mode: &str) {
        self.change(&json!({"executionLogs": {"mode": mode}})).await;
    }

    async fn change(&self, spec: &Value) {
        let orgs: Api<TrayOrg> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": spec}));
        orgs.patch(&self.org, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// The lines of this org's access record, in the order of their names.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let logs = &self.regions.logs;
        let ours = logs
            .keys()
            .into_iter()
            .filter(|key| key.starts_with("platform/access/"));
        let read = |key: String| serde_json::from_slice::<Value>(&logs.object(&key).unwrap().body).unwrap();
        ours.map(read)
            .filter(|line| line["org"] == self.org.as_str())
            .collect()
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        let lines = self.lines();
        let mut actions: Vec<_> = lines
            .iter()
            .map(|line| line["action"].as_str().unwrap().to_owned())
            .collect();
        actions.sort();
        actions
    }

    pub(crate) fn look_again(&self, running: &Running, name: &str) {
        let key = format!("{}/{name}", self.namespace);
        running.ctx.changes.publish(&Change::Support(key));
    }
}

/// The chart, a Region that is ready and keeps a record, and what orgs name.
async fn prepare(client: &Client) {
    installed::install(client).await;
    orgs::platform(client).await;
    make_region(client).await;
}

/// Puts that Region there, as ready.
pub(crate) async fn make_region(client: &Client) {
    api_server::apply(client, &region()).await;
    say_of_logs("True").await;
}

/// Has that Region say so of its log bucket.
pub(crate) async fn say_of_logs(verified: &str) {
    let condition = |type_: &str, status: &str| {
        json!({"type": type_, "status": status, "reason": "AsSpecified", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let conditions = [
        condition("Ready", "True"),
        condition("LogLocationVerified", verified),
    ];
    let status = Patch::Merge(json!({"status": {"observedGeneration": 1, "conditions": conditions}}));
    // A status is the operator's to write.
    let operator = installed::client().await;
    let regions = api_of(&operator, &region()).await.unwrap();
    regions
        .patch_status("eu", &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// A Region that keeps a record, and whose orgs run nothing.
pub(crate) fn region() -> Value {
    let logs = json!({"bucket": "tray-logs-eu", "prefix": "platform/"});
    orgs::region("eu", "eu-west-1", &json!({"logLocation": logs, "workloads": []}))
}

/// Requests so far for grants and bindings, but for watches and the lists that begin them.
pub(crate) fn requests(running: &Running) -> Vec<String> {
    let asked = requests::asked(&running.ctx.metrics);
    let ours = asked.iter().filter(|asked| {
        let of = |kind| asked.resource.starts_with(kind);
        !asked.is_of_a_watch() && (of("supportaccesses") || of("rolebindings"))
    });
    ours.map(ToString::to_string).collect()
}

/// Passes of the controller so far.
pub(crate) fn passes(running: &Running) -> u64 {
    operator::passes(&running.ctx, "support")
}

pub(crate) fn history(access: &SupportAccess) -> Vec<Action> {
    let status = access.status.as_ref().unwrap();
    status.history.iter().map(|event| event.action).collect()
}
