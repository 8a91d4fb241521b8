//! Hooks in the containers of workloads: a command runs on when nobody listens to it any more, and the next one ends it first, as
//! the operator's `hook.sh` has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::oneshot::{self, Receiver, Sender},
    time::{sleep, timeout},
};
use tray_ports::{Clock, HookError};
use tray_testkit::cluster::Name;

use crate::{
    lock::lock,
    log::Log,
    manifests::{POST_HOOK, PRE_HOOK},
    random::Random,
    trouble::HookRates,
};

/// How long a hook takes that does not end by itself.
const NEVER: Duration = Duration::from_secs(400 * 86_400);

/// What runs in containers, beside the workloads themselves.
pub struct Containers {
    clock: Arc<dyn Clock>,
    log: Arc<Log>,
    known: Mutex<Known>,
}

struct Known {
    random: Random,
    begun: u64,
    running: BTreeMap<Name, Running>,
    /// Pods whose `pre` hook has begun and has had no `post` yet, and since when it has made them consistent.
    quiesced: BTreeMap<Name, Option<Timestamp>>,
}

struct Running {
    number: u64,
    what: String,
    since: Timestamp,
    /// Tells who listens how it ended; dropped where the pod goes.
    end: Sender<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// By itself.
    Done,
    /// The next one ended it.
    Ended,
}

impl Containers {
    /// Nothing runs.
    pub fn new(random: Random, clock: Arc<dyn Clock>, log: Arc<Log>) -> Self {
        let known = Known {
            random,
            begun: 0,
            running: BTreeMap::new(),
            quiesced: BTreeMap::new(),
        };
        Self {
            clock,
            log,
            known: Mutex::new(known),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Runs a hook in a pod that runs: ends the one before, and becomes `command`. An empty one only ends what runs.
    pub async fn run(
        self: &Arc<Self>,
        pod: &Name,
        command: &[String],
        limit: Duration,
        rates: HookRates,
    ) -> Result<(), HookError> {
        self.end_former(pod);
        let Some(what) = command.first() else {
            return Ok(());
        };
        let (ended, lost_after) = self.begin(pod, what, rates);
        let listens = limit.min(lost_after.unwrap_or(limit));
        match timeout(listens, ended).await {
            Ok(Ok(End::Done)) => Ok(()),
            Ok(Ok(End::Ended)) => Err(HookError::Failed {
                pod: pod.name.clone(),
                container: "main".to_owned(),
                program: what.clone(),
                end: "exit code 143".to_owned(),
            }),
            Err(_) if lost_after.is_none_or(|lost| limit <= lost) => Err(HookError::TimedOut {
                pod: pod.name.clone(),
                seconds: limit.as_secs(),
            }),
            Err(_) => {
                self.log.sometimes("the connection to a hook breaks");
                Err(lost(pod))
            }
            Ok(Err(_)) => Err(lost(pod)),
        }
    }

    fn end_former(&self, pod: &Name) {
        let former = self.known().running.remove(pod);
        if let Some(Running { what, end, .. }) = former {
            self.log.step(format!(
                "hook {what} in {}/{} is ended by the next",
                pod.namespace, pod.name
            ));
            self.log.sometimes("what runs of a hook is ended");
            let _ = end.send(End::Ended);
        }
    }

    /// It begins, and goes on whoever listens. Returns its end, and when the connection to it breaks.
    fn begin(
        self: &Arc<Self>,
        pod: &Name,
        what: &str,
        rates: HookRates,
    ) -> (Receiver<End>, Option<Duration>) {
        let mut known = self.known();
        known.begun += 1;
        let number = known.begun;
        let (shortest, hangs) = (Duration::from_secs(3), known.random.chance(rates.hangs));
        let takes = known.random.between(shortest, rates.longest);
        let takes = if hangs { NEVER } else { takes };
        let breaks = known.random.chance(rates.lost);
        let lost_after = breaks.then(|| known.random.between(Duration::ZERO, takes));
        let (end, ended) = oneshot::channel();
        let running = Running {
            number,
            what: what.to_owned(),
            since: self.clock.now(),
            end,
        };
        known.running.insert(pod.clone(), running);
        match what {
            PRE_HOOK => drop(known.quiesced.insert(pod.clone(), None)),
            // It begins to undo what `pre` did.
            POST_HOOK => {
                if let Some(since) = known.quiesced.get_mut(pod) {
                    *since = None;
                }
            }
            _ => {}
        }
        drop(known);
        self.log
            .step(format!("hook {what} begins in {}/{}", pod.namespace, pod.name));
        let (containers, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            sleep(takes).await;
            containers.done(&pod, number);
        });
        (ended, lost_after)
    }

    /// Its time is over, if it still runs.
    fn done(&self, pod: &Name, number: u64) {
        let mut known = self.known();
        if known
            .running
            .get(pod)
            .is_none_or(|running| running.number != number)
        {
            return;
        }
        let Some(Running { what, end, .. }) = known.running.remove(pod) else {
            return;
        };
        match what.as_str() {
            PRE_HOOK => drop(known.quiesced.insert(pod.clone(), Some(self.clock.now()))),
            POST_HOOK => drop(known.quiesced.remove(pod)),
            _ => {}
        }
        drop(known);
        self.log
            .step(format!("hook {what} ends in {}/{}", pod.namespace, pod.name));
        let _ = end.send(End::Done);
    }

    /// A pod is gone, and what its hooks did with it.
    pub fn pod_gone(&self, pod: &Name) {
        let mut known = self.known();
        known.running.remove(pod);
        known.quiesced.remove(pod);
    }

    /// Pods whose `pre` hook has begun and has had no `post` yet.
    pub fn quiesced(&self) -> Vec<Name> {
        self.known().quiesced.keys().cloned().collect()
    }

    /// Since when `pre` has made a pod consistent; none = it has not, or `post` has begun since.
    pub fn consistent_since(&self, pod: &Name) -> Option<Timestamp> {
        self.known().quiesced.get(pod).copied().flatten()
    }

    /// Hooks that began before that and have not ended.
    pub fn older_than(&self, at: Timestamp) -> Vec<(Name, String)> {
        let known = self.known();
        let old = known.running.iter().filter(|(_, running)| running.since < at);
        old.map(|(pod, running)| (pod.clone(), running.what.clone()))
            .collect()
    }
}

fn lost(pod: &Name) -> HookError {
    HookError::Lost {
        pod: pod.name.clone(),
    }
}
