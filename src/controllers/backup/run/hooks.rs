//! The hooks of a run: `pre` makes a workload's volume consistent, `post` lets it go on. They may take hours, so they run beside
//! the passes over their org, and no pass waits for one.
//!
//! - `post` begins when `pre` has ended: the operator ends it with the run, and the pod itself sees to it that one hook runs in a
//!   container at a time, whoever began the other ([`tray_ports::HookRunner`]).
//! - What runs is known in memory alone. After a start `pre` is run again, and `post` of a run that has ended as long as its
//!   OrgSnapshot says that it is outstanding ([`super::let_go`]).
//! - The hooks of one org's runs follow each other, a few side by side; of all orgs a number that the API server bears.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Mutex as Turn, Semaphore},
    task::JoinHandle,
    time::sleep,
};
use tracing::warn;
use tray_api::{conditions::reasons, trayorg::TrayOrg, workload};
use tray_domain::{
    hook_run::{HookMoment, HookRun},
    ids::{PartId, RunId},
    names,
    snapshot_run::HookProgress,
};
use tray_ports::{HookError, HookTarget};

use crate::{
    adapters::kube::events::Severity,
    controllers::{changes::Change, context::Context, view::subject::Subject},
};

/// Hooks of all orgs that run at once: each is a connection that stays open.
const AT_ONCE: usize = 64;
/// Hooks of one run that run at once.
const OF_ONE_RUN: usize = 8;
/// How long the end of a hook may take that has to be ended.
const ENDING: Duration = Duration::from_secs(60);
/// Pauses after each of which what failed on the way to a pod is tried again.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(180),
];

/// One command to run in a workload's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The claim whose part the hook makes consistent.
    pub claim: PartId,
    /// Where it runs.
    pub target: HookTarget,
    /// What runs.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hook {
    /// The hook of the workload's declaration, in the pod that has the claim mounted. `is_free` = it is known that no hook runs there.
    fn of(
        subject: &Subject<'_>,
        claim: &PartId,
        pod: String,
        declared: &workload::Hook,
        is_free: bool,
    ) -> Self {
        let seconds = declared
            .timeout_seconds
            .unwrap_or(workload::Hook::DEFAULT_TIMEOUT_SECONDS);
        Self {
            claim: claim.clone(),
            target: HookTarget {
                namespace: subject.namespace().to_owned(),
                pod,
                container: names::WORKLOAD_CONTAINER.to_owned(),
                is_free,
            },
            command: declared.command.clone(),
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        }
    }

    fn run(&self, moment: HookMoment, since: Timestamp) -> HookRun {
        let limit = SignedDuration::try_from(self.timeout).unwrap_or(SignedDuration::MAX);
        HookRun {
            part: self.claim.clone(),
            moment,
            pod: self.target.pod.clone(),
            since,
            until: since.checked_add(limit).unwrap_or(Timestamp::MAX),
        }
    }
}

/// The `pre` hooks of these claims; an error names the claim that no pod runs for. `is_free` = it is known that no hook of the run
/// lives.
pub(crate) fn pre_hooks(
    subject: &Subject<'_>,
    claims: &[PartId],
    is_free: bool,
) -> Result<Vec<Hook>, String> {
    let declared = claims.iter().filter_map(|claim| {
        let backup = subject.workload_of(claim)?.backup.as_ref()?;
        Some((claim, backup.pre.as_ref()?))
    });
    declared
        .map(|(claim, hook)| {
            let pod = running_pod(subject, claim).ok_or_else(|| {
                format!("no running pod has volume {claim} mounted: its pre hook cannot run")
            })?;
            Ok(Hook::of(subject, claim, pod, hook, is_free))
        })
        .collect()
}

/// The `post` hooks of a run that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PostHooks {
    /// Those that can run.
    pub hooks: Vec<Hook>,
    /// Claims whose hook has no pod to run in at present.
    pub without_pod: Vec<PartId>,
}

/// The `post` hooks of these claims. `pre_ended` = it is known that no `pre` hook of the run lives.
pub(crate) fn post_hooks(subject: &Subject<'_>, claims: &[PartId], pre_ended: bool) -> PostHooks {
    let mut post = PostHooks::default();
    for claim in claims {
        let backup = subject
            .workload_of(claim)
            .and_then(|workload| workload.backup.as_ref());
        let Some(declared) = backup.and_then(|backup| backup.post.as_ref()) else {
            continue;
        };
        match running_pod(subject, claim) {
            Some(pod) => post
                .hooks
                .push(Hook::of(subject, claim, pod, declared, pre_ended)),
            None => post.without_pod.push(claim.clone()),
        }
    }
    post
}

fn running_pod(subject: &Subject<'_>, claim: &PartId) -> Option<String> {
    let pod = subject.pod_with(claim)?;
    (pod.phase == "Running" && !pod.deleting).then(|| pod.name.clone())
}

/// When each claim's hook began: the consistency point of its part.
pub(crate) type HookPoints = BTreeMap<PartId, Timestamp>;

/// What the `post` hooks of a run that has ended are doing, in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PostProgress {
    /// Not begun, or begun by a process that is gone.
    NotBegun,
    /// Running, or about to.
    Running,
    /// All have ended; what failed.
    Ended(Vec<String>),
}

/// Whose hooks run, and who is told.
#[derive(Clone)]
pub(crate) struct HooksOf {
    /// The TrayOrg.
    pub org: Arc<TrayOrg>,
    /// Its name.
    pub name: String,
    /// The run.
    pub run: RunId,
    /// Name of the run's OrgSnapshot.
    pub snapshot: String,
}

impl HooksOf {
    fn change(&self) -> Change {
        Change::Snapshot {
            name: self.snapshot.clone(),
            org: self.name.clone(),
        }
    }
}

/// The hooks that this process runs or has run, by run. What an operator that is gone was running is not known: such a hook is
/// run again, after what still runs of the first was ended.
#[derive(Clone)]
pub(crate) struct HookTasks {
    shared: Arc<Shared>,
}

struct Shared {
    runs: Mutex<HashMap<RunId, RunHooks>>,
    turns: Mutex<HashMap<String, Arc<Turn<()>>>>,
    at_once: Semaphore,
}

struct RunHooks {
    org: String,
    pre: PreState,
    post: PostProgress,
    /// What runs at present.
    running: Vec<(HookRun, Hook)>,
}

enum PreState {
    NotBegun,
    Running(JoinHandle<()>),
    Ended(Result<HookPoints, String>),
}

impl Default for HookTasks {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                runs: Mutex::default(),
                turns: Mutex::default(),
                at_once: Semaphore::new(AT_ONCE),
            }),
        }
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, RunHooks>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, of: &HooksOf, change: impl FnOnce(&mut RunHooks)) {
        let mut runs = self.runs();
        change(runs.entry(of.run.clone()).or_insert_with(|| RunHooks {
            org: of.name.clone(),
            pre: PreState::NotBegun,
            post: PostProgress::NotBegun,
            running: Vec::new(),
        }));
    }

    /// The turn of an org's hooks: those of one run follow those of another.
    fn turn(&self, org: &str) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|name, turn| name == org || Arc::strong_count(turn) > 1);
        turns.entry(org.to_owned()).or_default().clone()
    }

    /// Runs one hook. One that may run on is ended.
    async fn run(
        &self,
        ctx: &Context,
        of: &HooksOf,
        hook: &Hook,
        moment: HookMoment,
    ) -> Result<Timestamp, HookError> {
        // It is never closed.
        let _permit = self.at_once.acquire().await.ok();
        // Before the command, never after: what is committed while it runs may or may not be in the copy.
        let began = ctx.clock.now();
        let running = hook.run(moment, began);
        self.of(of, |hooks| hooks.running.push((running.clone(), hook.clone())));
        ctx.changes.publish(&of.change());
        let result = ctx.hooks.run(&hook.target, &hook.command, hook.timeout).await;
        if result.as_ref().is_err_and(HookError::may_run_on) {
            end_running(ctx, hook).await;
        }
        self.of(of, |hooks| hooks.running.retain(|(known, _)| *known != running));
        result.map(|()| began)
    }

    /// Runs all `pre` hooks, and says when each began. The first failure is told after all have ended, so that none still runs
    /// when the run is given up.
    async fn pre(&self, ctx: &Context, of: &HooksOf, hooks: Vec<Hook>) -> Result<HookPoints, HookError> {
        let turn = self.turn(&of.name);
        let _turn = turn.lock().await;
        let runs = stream::iter(hooks).map(|hook| async move {
            let began = self.run(ctx, of, &hook, HookMoment::Pre).await?;
            Ok((hook.claim, began))
        });
        let results: Vec<_> = runs.buffer_unordered(OF_ONE_RUN).collect().await;
        results.into_iter().collect()
    }

    /// Runs all `post` hooks; returns what failed. What failed on the way is tried again.
    async fn post(&self, ctx: &Context, of: &HooksOf, hooks: Vec<Hook>) -> Vec<String> {
        let turn = self.turn(&of.name);
        let _turn = turn.lock().await;
        let runs = stream::iter(hooks).map(|hook| async move {
            for pause in PAUSES {
                match self.run(ctx, of, &hook, HookMoment::Post).await {
                    Err(error) if error.is_on_the_way() => {
                        warn!(%error, "a post hook failed on the way; tried again");
                        sleep(pause).await;
                    }
                    result => return result.map(drop),
                }
            }
            self.run(ctx, of, &hook, HookMoment::Post).await.map(drop)
        });
        let results: Vec<_> = runs.buffer_unordered(OF_ONE_RUN).collect().await;
        let failed = results.into_iter().filter_map(Result::err);
        failed.map(|error| format!("post: {error}")).collect()
    }
}

/// Ends what runs where a hook did. Whoever runs the next one there ends it, too.
async fn end_running(ctx: &Context, hook: &Hook) {
    for pause in PAUSES {
        match ctx.hooks.run(&hook.target, &[], ENDING).await {
            Err(error) if error.is_on_the_way() => {
                warn!(%error, "failed to end a hook; tried again");
                sleep(pause).await;
            }
            Err(error) => return warn!(%error, "a hook was not ended"),
            Ok(()) => return,
        }
    }
}

impl HookTasks {
    /// Begins the `pre` hooks of a run. It is published when one begins, and when all have ended.
    pub(crate) fn begin(&self, ctx: &Arc<Context>, of: HooksOf, hooks: Vec<Hook>) {
        let (shared, ctx) = (self.shared.clone(), ctx.clone());
        let task_of = of.clone();
        // Under the lock, so that its end is not told before its beginning is.
        self.shared.of(&of, |known| {
            let task = tokio::spawn(async move {
                let of = task_of;
                let result = shared.pre(&ctx, &of, hooks).await;
                let ended = PreState::Ended(result.map_err(|error| error.to_string()));
                shared.of(&of, |hooks| hooks.pre = ended);
                ctx.changes.publish(&of.change());
            });
            known.pre = PreState::Running(task);
        });
    }

    /// Hooks that cannot begin.
    pub(crate) fn fail(&self, of: &HooksOf, why: String) {
        self.shared.of(of, |hooks| hooks.pre = PreState::Ended(Err(why)));
    }

    /// How far the `pre` hooks are.
    pub(crate) fn progress(&self, run: &RunId) -> HookProgress {
        match self.shared.runs().get(run).map(|hooks| &hooks.pre) {
            None | Some(PreState::NotBegun) => HookProgress::NotBegun,
            Some(PreState::Running(_)) => HookProgress::Running,
            Some(PreState::Ended(Ok(_))) => HookProgress::Succeeded,
            Some(PreState::Ended(Err(why))) => HookProgress::Failed(why.clone()),
        }
    }

    /// When the `pre` hook of a claim began.
    pub(crate) fn point(&self, run: &RunId, claim: &PartId) -> Option<Timestamp> {
        match &self.shared.runs().get(run)?.pre {
            PreState::Ended(Ok(points)) => points.get(claim).copied(),
            _ => None,
        }
    }

    /// The run has ended: so does its `pre`, and then its `post` hooks run. What of them is begun already goes on.
    pub(crate) fn end(&self, ctx: &Arc<Context>, of: HooksOf, post: Vec<Hook>) {
        let (mut pre, mut interrupted, mut goes_on) = (PreState::NotBegun, Vec::new(), false);
        self.shared.of(&of, |hooks| {
            goes_on = hooks.post != PostProgress::NotBegun;
            if goes_on {
                return;
            }
            if post.is_empty() && !matches!(hooks.pre, PreState::Running(_)) {
                hooks.post = PostProgress::Ended(Vec::new());
                goes_on = true;
                return;
            }
            pre = std::mem::replace(
                &mut hooks.pre,
                PreState::Ended(Err("the run has ended".to_owned())),
            );
            hooks.post = PostProgress::Running;
            if let PreState::Running(_) = &pre {
                interrupted = std::mem::take(&mut hooks.running)
                    .into_iter()
                    .map(|(_, hook)| hook)
                    .collect();
            }
        });
        if goes_on {
            return;
        }
        let (shared, ctx) = (self.shared.clone(), ctx.clone());
        tokio::spawn(async move {
            if let PreState::Running(task) = pre {
                task.abort();
                // Where it had just ended, it has told so.
                let _ = task.await;
                shared.of(&of, |hooks| {
                    hooks.running.clear();
                    hooks.pre = PreState::Ended(Err("the run has ended".to_owned()));
                });
            }
            let mut post = post;
            let mut without_post = Vec::new();
            for hook in interrupted {
                match post.iter_mut().find(|post| post.claim == hook.claim) {
                    // It ends the other one itself.
                    Some(post) => post.target.is_free = false,
                    None => without_post.push(hook),
                }
            }
            let ends = join_all(without_post.iter().map(|hook| end_running(&ctx, hook)));
            let (failed, _) = tokio::join!(shared.post(&ctx, &of, post), ends);
            for why in &failed {
                warn!(run = %of.run, why, "a hook failed");
                let note = format!("OrgSnapshot {}: {why}", of.snapshot);
                ctx.events
                    .publish(
                        &*of.org,
                        Severity::Warning,
                        reasons::HOOK_FAILED,
                        "Snapshot",
                        note,
                    )
                    .await;
            }
            shared.of(&of, |hooks| hooks.post = PostProgress::Ended(failed));
            ctx.changes.publish(&of.change());
        });
    }

    /// How far the `post` hooks are.
    pub(crate) fn post(&self, run: &RunId) -> PostProgress {
        let runs = self.shared.runs();
        runs.get(run)
            .map_or(PostProgress::NotBegun, |hooks| hooks.post.clone())
    }

    /// The hooks of a run that run at present.
    pub(crate) fn running(&self, run: &RunId) -> Vec<HookRun> {
        let runs = self.shared.runs();
        let hooks = runs.get(run).into_iter().flat_map(|hooks| &hooks.running);
        hooks.map(|(running, _)| running.clone()).collect()
    }

    /// The hooks of an org that run at present, of whichever run.
    pub(crate) fn running_of(&self, org: &str) -> Vec<HookRun> {
        let runs = self.shared.runs();
        let hooks = runs.values().filter(|hooks| hooks.org == org);
        hooks
            .flat_map(|hooks| &hooks.running)
            .map(|(running, _)| running.clone())
            .collect()
    }

    /// Whether hooks of an org run or are about to, of whichever run.
    pub(crate) fn is_at_work(&self, org: &str) -> bool {
        let runs = self.shared.runs();
        let mut hooks = runs.values().filter(|hooks| hooks.org == org);
        hooks.any(|hooks| hooks.post == PostProgress::Running || matches!(hooks.pre, PreState::Running(_)))
    }

    /// Forgets the hooks of an org's runs, but of those that are `wanted` or run: what became of the others is recorded.
    pub(crate) fn forget(&self, org: &str, wanted: impl Fn(&RunId) -> bool) {
        let mut runs = self.shared.runs();
        runs.retain(|run, hooks| hooks.org != org || hooks.post == PostProgress::Running || wanted(run));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tray_domain::mover_task::BucketLocation;
    use tray_ledger::RemoteError;
    use tray_ports::{Clock, HookRunner, RegionPorts, RegionServices};
    use tray_testkit::{
        clock::RuntimeClock,
        cluster::{ApiServer, of_kubernetes},
    };

    use super::*;
    use crate::{
        adapters::kube::client::Connections, config::Settings, controllers::context::Parts,
        telemetry::metrics::Metrics,
    };

    struct NoRegions;

    impl RegionPorts for NoRegions {
        fn services(&self, _: &BucketLocation) -> Result<RegionServices, RemoteError> {
            Err(RemoteError::Unavailable("there is none".to_owned()))
        }
    }

    /// How a command of a test goes, by its first word.
    #[derive(Clone, Copy)]
    enum Course {
        Takes(u64),
        Fails,
        /// The connection breaks after so many seconds; the command runs on.
        Lost(u64),
        /// The same the first time, and never again.
        LostOnce(u64),
    }

    /// Pods in which commands run on when nobody waits for them, as in a container.
    struct Pods {
        clock: RuntimeClock,
        living: Mutex<HashMap<String, String>>,
        log: Mutex<Vec<String>>,
        lost: Mutex<Vec<String>>,
        courses: HashMap<&'static str, Course>,
        has_shell: bool,
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
    }

    impl Pods {
        fn new(courses: &[(&'static str, Course)]) -> Arc<Self> {
            Arc::new(Self::with_shell(courses, true))
        }

        fn with_shell(courses: &[(&'static str, Course)], has_shell: bool) -> Self {
            Self {
                clock: RuntimeClock::from(Timestamp::UNIX_EPOCH),
                living: Mutex::default(),
                log: Mutex::default(),
                lost: Mutex::default(),
                courses: courses.iter().copied().collect(),
                has_shell,
                at_once: AtomicUsize::new(0),
                most_at_once: AtomicUsize::new(0),
            }
        }

        fn say(&self, what: String) {
            let second = self.clock.now().as_second();
            self.log.lock().unwrap().push(format!("{second} {what}"));
        }

        fn said(&self) -> Vec<String> {
            self.log.lock().unwrap().clone()
        }

        fn lives(&self) -> Vec<String> {
            let mut living: Vec<String> = self.living.lock().unwrap().values().cloned().collect();
            living.sort();
            living
        }
    }

    #[async_trait::async_trait]
    impl HookRunner for Pods {
        async fn run(
            &self,
            target: &HookTarget,
            command: &[String],
            timeout: Duration,
        ) -> Result<(), HookError> {
            let pod = target.pod.clone();
            if !self.has_shell && (command.is_empty() || !target.is_free) {
                return Err(HookError::NotFree {
                    pod,
                    container: "main".into(),
                    why: "may run on",
                });
            }
            if let Some(former) = self.living.lock().unwrap().remove(&pod) {
                assert!(command.is_empty() || !target.is_free, "{former} lives in {pod}");
                self.say(format!("{former} is ended"));
            }
            let Some(word) = command.first().cloned() else {
                return Ok(());
            };
            self.living.lock().unwrap().insert(pod.clone(), word.clone());
            self.say(format!("{word} begins"));
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let is_first = !self.lost.lock().unwrap().contains(&word);
            let (takes, lost) = match self.courses[&*word] {
                Course::Takes(seconds) => (seconds, false),
                Course::Lost(seconds) => (seconds, true),
                Course::LostOnce(seconds) => (seconds, is_first),
                Course::Fails => (1, false),
            };
            let ended = tokio::time::timeout(timeout, sleep(Duration::from_secs(takes))).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            if ended.is_err() {
                return Err(HookError::TimedOut {
                    pod,
                    seconds: timeout.as_secs(),
                });
            }
            if lost {
                self.lost.lock().unwrap().push(word);
                return Err(HookError::Lost { pod });
            }
            self.living.lock().unwrap().remove(&pod);
            self.say(format!("{word} has ended"));
            if let Course::Fails = self.courses[&*word] {
                return Err(HookError::Failed {
                    pod,
                    container: "main".into(),
                    program: word,
                    end: "exit code 3".into(),
                });
            }
            Ok(())
        }
    }

    fn context(pods: &Arc<Pods>) -> Arc<Context> {
        let clock = Arc::new(pods.clock);
        let server = ApiServer::new(of_kubernetes(), clock.clone(), || 7);
        let client = server.client("operator");
        let mut ctx = Context::new(Parts {
            connections: Connections {
                calls: client.clone(),
                watches: client,
            },
            identity: "test".to_owned(),
            regions: Arc::new(NoRegions),
            clock,
            settings: Settings {
                concurrency: 1,
                api_server_ports: vec![],
                support_groups: vec![],
                mover_image: String::new(),
                mover_image_pull_policy: None,
                ca_bundle: None,
                webhooks: false,
            },
            cluster_uid: "cluster".to_owned(),
            metrics: Arc::new(Metrics::default()),
        });
        ctx.hooks = pods.clone();
        Arc::new(ctx)
    }

    fn of_run(number: i64, org: &str) -> HooksOf {
        let tray_org = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg",
            "metadata": {"name": org, "uid": "u"}, "spec": {"plan": "Team"}});
        HooksOf {
            org: Arc::new(serde_json::from_value(tray_org).unwrap()),
            name: org.to_owned(),
            run: RunId::of(Timestamp::from_second(number).unwrap(), org),
            snapshot: format!("{org}-{number}"),
        }
    }

    fn hook(pod: &str, word: &str, timeout: u64) -> Hook {
        Hook {
            claim: format!("data-{pod}").parse().unwrap(),
            target: HookTarget {
                namespace: "n".into(),
                pod: pod.into(),
                container: "main".into(),
                is_free: true,
            },
            command: vec![word.to_owned()],
            timeout: Duration::from_secs(timeout),
        }
    }

    async fn pass_by(seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_ends_ends_its_pre_and_then_runs_its_post() {
        let pods = Pods::new(&[("pre", Course::Takes(3_600)), ("post", Course::Takes(10))]);
        let (ctx, tasks, of) = (context(&pods), HookTasks::default(), of_run(1, "acme"));
        tasks.begin(&ctx, of.clone(), vec![hook("db-0", "pre", 3_600)]);
        pass_by(60).await;
        assert_eq!(tasks.progress(&of.run), HookProgress::Running);
        let running = tasks.running(&of.run);
        assert_eq!((running.len(), running[0].pod.as_str()), (1, "db-0"));
        assert_eq!(running[0].until.duration_since(running[0].since).as_secs(), 3_600);

        tasks.end(&ctx, of.clone(), vec![hook("db-0", "post", 600)]);
        assert_eq!(tasks.post(&of.run), PostProgress::Running);
        pass_by(20).await;
        assert_eq!(
            pods.said(),
            [
                "0 pre begins",
                "60 pre is ended",
                "60 post begins",
                "70 post has ended"
            ]
        );
        assert_eq!(tasks.post(&of.run), PostProgress::Ended(vec![]));
        assert!(
            matches!(tasks.progress(&of.run), HookProgress::Failed(_)),
            "it does not begin anew"
        );
        assert_eq!(tasks.running(&of.run), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pre_without_a_post_ends_with_its_run_too() {
        let pods = Pods::new(&[("pre", Course::Takes(3_600))]);
        let (ctx, tasks, of) = (context(&pods), HookTasks::default(), of_run(1, "acme"));
        tasks.begin(&ctx, of.clone(), vec![hook("db-0", "pre", 3_600)]);
        pass_by(60).await;
        tasks.end(&ctx, of.clone(), vec![]);
        pass_by(1).await;
        assert_eq!(pods.lives(), Vec::<String>::new());
        assert_eq!(tasks.post(&of.run), PostProgress::Ended(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_hangs_is_ended_when_its_time_is_over_and_told() {
        let pods = Pods::new(&[("hangs", Course::Takes(1_000_000))]);
        let (ctx, tasks, of) = (context(&pods), HookTasks::default(), of_run(1, "acme"));
        tasks.end(&ctx, of.clone(), vec![hook("db-0", "hangs", 7_200)]);
        pass_by(7_100).await;
        assert_eq!(tasks.running_of("acme").len(), 1);
        assert_eq!(tasks.running_of("globex"), []);
        assert!(tasks.is_at_work("acme") && !tasks.is_at_work("globex"));
        pass_by(200).await;
        assert!(!tasks.is_at_work("acme"));
        assert_eq!(pods.lives(), Vec::<String>::new());
        let PostProgress::Ended(failed) = tasks.post(&of.run) else {
            panic!("it still runs")
        };
        assert!(
            failed[0].contains("pod db-0 did not end within 7200 s"),
            "{failed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_on_after_the_connection_broke_is_ended_and_never_met_by_a_post() {
        let pods = Pods::new(&[("pre", Course::Lost(30)), ("post", Course::LostOnce(5))]);
        let (ctx, tasks, of) = (context(&pods), HookTasks::default(), of_run(1, "acme"));
        tasks.begin(&ctx, of.clone(), vec![hook("db-0", "pre", 3_600)]);
        pass_by(31).await;
        let HookProgress::Failed(why) = tasks.progress(&of.run) else {
            panic!("{:?}", tasks.progress(&of.run))
        };
        assert!(
            why.contains("the connection to the hook in pod db-0 broke"),
            "{why}"
        );
        assert_eq!(pods.lives(), Vec::<String>::new());
        tasks.end(&ctx, of.clone(), vec![hook("db-0", "post", 600)]);
        pass_by(60).await;
        // Its own connection broke, too: what ran on was ended, and it was run again.
        let said = pods.said();
        assert_eq!(
            said.iter().filter(|said| said.contains("post begins")).count(),
            2,
            "{said:?}"
        );
        assert_eq!(tasks.post(&of.run), PostProgress::Ended(vec![]));
    }

    /// Nothing there can be ended, so nothing begins beside what a process that is gone may have begun.
    #[tokio::test(start_paused = true)]
    async fn without_a_shell_no_hook_begins_beside_the_one_of_an_operator_that_is_gone() {
        let courses = [("pre", Course::Takes(10)), ("post", Course::Takes(10))];
        let pods = Arc::new(Pods::with_shell(&courses, false));
        pods.living
            .lock()
            .unwrap()
            .insert("db-0".into(), "pre of before".into());
        let (ctx, tasks, of) = (context(&pods), HookTasks::default(), of_run(1, "acme"));
        let begun = |word| Hook {
            target: HookTarget {
                is_free: false,
                ..hook("db-0", word, 600).target
            },
            ..hook("db-0", word, 600)
        };
        tasks.begin(&ctx, of.clone(), vec![begun("pre")]);
        pass_by(20).await;
        let HookProgress::Failed(why) = tasks.progress(&of.run) else {
            panic!("{:?}", tasks.progress(&of.run))
        };
        assert!(why.contains("pod db-0 may run on: it was not begun"), "{why}");
        tasks.end(&ctx, of.clone(), vec![begun("post")]);
        pass_by(20).await;
        let PostProgress::Ended(failed) = tasks.post(&of.run) else {
            panic!("it still runs")
        };
        assert!(failed[0].contains("it was not begun"), "{failed:?}");
        assert_eq!(pods.said(), Vec::<String>::new(), "nothing was begun or ended");
        // Where it is known that none runs, one begins all the same.
        pods.living.lock().unwrap().clear();
        let next = of_run(2, "acme");
        tasks.begin(&ctx, next.clone(), vec![hook("db-0", "pre", 600)]);
        pass_by(20).await;
        assert_eq!(tasks.progress(&next.run), HookProgress::Succeeded);
    }

    #[tokio::test(start_paused = true)]
    async fn the_hooks_of_the_next_run_wait_for_those_of_the_one_before() {
        let pods = Pods::new(&[("pre", Course::Takes(10)), ("post", Course::Takes(100))]);
        let (ctx, tasks) = (context(&pods), HookTasks::default());
        let (first, second, other) = (of_run(1, "acme"), of_run(2, "acme"), of_run(3, "globex"));
        tasks.end(&ctx, first.clone(), vec![hook("db-0", "post", 600)]);
        pass_by(1).await;
        tasks.begin(&ctx, second.clone(), vec![hook("db-0", "pre", 600)]);
        tasks.begin(&ctx, other.clone(), vec![hook("globex-0", "pre", 600)]);
        pass_by(50).await;
        assert_eq!(tasks.progress(&second.run), HookProgress::Running);
        assert_eq!(tasks.running(&second.run), [], "it waits");
        assert!(tasks.is_at_work("acme") && !tasks.is_at_work("globex"));
        assert_eq!(
            tasks.progress(&other.run),
            HookProgress::Succeeded,
            "another org does not"
        );
        pass_by(100).await;
        assert_eq!(tasks.progress(&second.run), HookProgress::Succeeded);
        let point = tasks.point(&second.run, &"data-db-0".parse().unwrap());
        assert_eq!(
            point,
            Some(Timestamp::from_second(100).unwrap()),
            "not from when it was asked for"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_hooks_run_at_once_than_are_borne() {
        let pods = Pods::new(&[("pre", Course::Takes(10))]);
        let (ctx, tasks) = (context(&pods), HookTasks::default());
        let of_one: Vec<Hook> = (0..20).map(|n| hook(&format!("one-{n}"), "pre", 600)).collect();
        tasks.begin(&ctx, of_run(1, "acme"), of_one);
        pass_by(5).await;
        assert_eq!(pods.most_at_once.load(Ordering::SeqCst), OF_ONE_RUN);
        for org in 0..40 {
            let hooks = (0..4).map(|n| hook(&format!("o{org}-{n}"), "pre", 600)).collect();
            tasks.begin(&ctx, of_run(2, &format!("org-{org}")), hooks);
        }
        pass_by(600).await;
        assert_eq!(pods.most_at_once.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(pods.at_once.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_told_and_forgotten_when_it_is_recorded() {
        let pods = Pods::new(&[("post", Course::Fails), ("slow", Course::Takes(100))]);
        let (ctx, tasks) = (context(&pods), HookTasks::default());
        let (first, second) = (of_run(1, "acme"), of_run(2, "acme"));
        tasks.end(&ctx, first.clone(), vec![hook("db-0", "post", 600)]);
        pass_by(2).await;
        let PostProgress::Ended(failed) = tasks.post(&first.run) else {
            panic!("it still runs")
        };
        assert!(failed[0].contains("exit code 3"), "{failed:?}");
        // Who ends it again, as after a crash, has what there is.
        tasks.end(&ctx, first.clone(), vec![hook("db-0", "post", 600)]);
        assert_eq!(tasks.post(&first.run), PostProgress::Ended(failed));
        tasks.end(&ctx, second.clone(), vec![hook("db-0", "slow", 600)]);
        tasks.forget("acme", |_| false);
        assert_eq!(tasks.post(&first.run), PostProgress::NotBegun);
        assert_eq!(tasks.post(&second.run), PostProgress::Running);
    }
}
