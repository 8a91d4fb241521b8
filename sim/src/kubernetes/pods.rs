//! Pods: they find a node, start after a while, run, and stop.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tray_ports::Clock;
use tray_testkit::cluster::Name;

use super::{Ended, Kubernetes, Later, Running, claims::claims_of, is_going, owners, text};

/// How soon a pod that waits for something is looked at again.
const LOOK: Duration = Duration::from_secs(2);

impl Kubernetes {
    /// Brings a pod to where it should be: on a node, running, stopping.
    pub(super) fn pod(&mut self, name: &Name) {
        let server = self.world.server.clone();
        let Some(pod) = server.get("pods", name) else {
            return;
        };
        let uid = text(&pod, "uid").to_owned();
        if is_going(&pod) {
            if self.stopping.insert(uid.clone()) {
                let grace = pod["metadata"]["deletionGracePeriodSeconds"]
                    .as_u64()
                    .unwrap_or(30);
                let most = Duration::from_secs(grace.clamp(1, 20));
                let stops = self.random.between(Duration::from_millis(200), most);
                self.later(stops, Later::Stopped(name.clone(), uid));
            }
            return;
        }
        if pod["status"]["phase"] != "Pending" {
            return;
        }
        if pod["spec"]["nodeName"].is_null() {
            self.schedule(name, &pod);
            return;
        }
        match self.starting.get(&uid) {
            Some(due) if *due <= Instant::now() => self.start(name, &pod),
            Some(_) => {}
            None => {
                let start = self.moment();
                self.starting.insert(uid, Instant::now() + start);
                self.later(start, Later::Pod(name.clone()));
            }
        }
    }

    fn schedule(&mut self, name: &Name, pod: &Value) {
        let selector = pod["spec"]["nodeSelector"].as_object();
        let fits = self.world.server.read_all("nodes", |node| {
            let labels = &node["metadata"]["labels"];
            let mut wanted = selector.into_iter().flatten();
            wanted
                .all(|(label, value)| labels[label] == *value)
                .then(|| text(node, "name").to_owned())
        });
        let fits: Vec<String> = fits.into_iter().flatten().collect();
        let bound = claims_of(pod).all(|claim| {
            self.world
                .volume_of(&Name::new(name.namespace.clone(), claim))
                .is_some()
        });
        match self.random.pick(&fits) {
            Some(node) if bound => {
                let _ = self
                    .world
                    .server
                    .change("pods", name, |pod| pod["spec"]["nodeName"] = json!(node));
            }
            _ => self.later(LOOK, Later::Pod(name.clone())),
        }
    }

    /// Starts the containers of a pod, once its Secrets are there.
    fn start(&mut self, name: &Name, pod: &Value) {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut secrets = volumes
            .filter(|volume| volume["secret"]["optional"] != true)
            .filter_map(|volume| volume["secret"]["secretName"].as_str());
        let present = |secret: &str| {
            let place = Name::new(name.namespace.clone(), secret);
            self.world.server.read("secrets", &place, |_| ()).is_some()
        };
        if !secrets.all(present) {
            self.later(LOOK, Later::Pod(name.clone()));
            return;
        }
        let now = self.world.clock.now().to_string();
        let _ = self.world.server.change("pods", name, |pod| {
            pod["status"] = json!({
                "phase": "Running", "startTime": now,
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                "containerStatuses": [{"name": pod["spec"]["containers"][0]["name"], "ready": true, "restartCount": 0,
                    "image": "", "imageID": "", "state": {"running": {"startedAt": now}}}],
            });
        });
        if owners(pod).any(|owner| owner.kind == "Job") {
            self.run_mover(name, pod);
            return;
        }
        for claim in claims_of(pod) {
            if let Some(volume) = self.world.volume_of(&Name::new(name.namespace.clone(), claim)) {
                self.world.workload_begins(name, &volume);
            }
        }
    }

    /// A mover's process has ended by itself.
    pub(super) fn mover_ended(&mut self, ended: &Ended) {
        self.running.remove(&ended.uid);
        self.world.truth.mover_ended(&ended.uid);
        self.say_last_words(&ended.pod, &ended.uid, ended.code, &ended.words);
    }

    fn say_last_words(&self, name: &Name, uid: &str, code: i32, words: &str) {
        let now = self.world.clock.now().to_string();
        let _ = self.world.server.change("pods", name, |pod| {
            if text(pod, "uid") != uid {
                return;
            }
            let container = pod["spec"]["containers"][0]["name"].clone();
            pod["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "lastTransitionTime": now}]);
            pod["status"]["containerStatuses"] = json!([{"name": container, "ready": false, "restartCount": 0, "image": "",
                "imageID": "", "state": {"terminated": {"exitCode": code, "message": words, "finishedAt": now}}}]);
        });
    }

    /// A pod that was deleted has stopped: whatever ran in it is gone.
    pub(super) fn pod_stopped(&mut self, name: &Name, uid: &str) {
        let running = self.running.remove(uid);
        if let Some(running) = &running {
            self.end_process(uid, running);
            self.say_last_words(name, uid, 137, "");
        }
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let _ = self.world.server.delete("pods", name, &options);
    }

    fn end_process(&self, uid: &str, running: &Running) {
        running.life.end();
        running.process.abort();
        self.world.truth.mover_ended(uid);
    }

    /// A pod is gone.
    pub(super) fn pod_gone(&mut self, name: &Name, pod: &Value) {
        self.world.containers.pod_gone(name);
        self.starting.remove(text(pod, "uid"));
        self.stopping.remove(text(pod, "uid"));
        let uid = text(pod, "uid");
        if let Some(running) = self.running.remove(uid) {
            self.end_process(uid, &running);
        }
        // One that did not end well and is gone counts against its Job all the same.
        if pod["status"]["phase"] != "Succeeded" {
            for owner in owners(pod).filter(|owner| owner.kind == "Job") {
                *self.failures.entry(owner.uid.to_owned()).or_default() += 1;
            }
        }
        for claim in claims_of(pod) {
            self.later(
                Duration::ZERO,
                Later::Claim(Name::new(name.namespace.clone(), claim)),
            );
        }
    }
}
