//! Jobs: one pod at a time, until one ends well, or too many have not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tray_ports::Clock;
use tray_testkit::cluster::{Name, Object};

use super::{Kubernetes, Later, is_going, is_over, owned_by, text};

/// Pause before the second pod; doubled at each further one.
const PAUSE: u64 = 10;

impl Kubernetes {
    /// Brings a Job nearer to its end.
    pub(super) fn job(&mut self, name: &Name) {
        let server = self.world.server.clone();
        let Some(job) = server.get("jobs.batch", name) else {
            return;
        };
        if is_going(&job) || has_ended(&job) {
            return;
        }
        let uid = text(&job, "uid").to_owned();
        let pods = self.pods_of(&uid);
        if job["spec"]["suspend"] == true {
            for (pod, _) in pods.iter().filter(|(_, pod)| !is_going(pod)) {
                let _ = server.delete("pods", pod, &json!({}));
            }
            return;
        }
        if pods.iter().any(|(_, pod)| pod["status"]["phase"] == "Succeeded") {
            self.end_job(
                name,
                &[
                    ("SuccessCriteriaMet", "CompletionsReached", ""),
                    ("Complete", "CompletionsReached", ""),
                ],
            );
            return;
        }
        let now = self.world.clock.now();
        let started = job["status"]["startTime"]
            .as_str()
            .and_then(|at| at.parse::<Timestamp>().ok());
        let Some(started) = started else {
            let _ = server.change("jobs.batch", name, |job| {
                job["status"]["startTime"] = json!(now.to_string());
            });
            return;
        };
        let alive = pods.iter().filter(|(_, pod)| !is_over(pod)).count();
        let deadline = job["spec"]["activeDeadlineSeconds"]
            .as_i64()
            .unwrap_or(i64::from(i32::MAX));
        let left = SignedDuration::from_secs(deadline) - now.duration_since(started);
        if left <= SignedDuration::ZERO {
            let message = "Job was active longer than specified deadline";
            self.fail_job(name, &pods, alive, "DeadlineExceeded", message);
            return;
        }
        let refused = pods
            .iter()
            .find(|(_, pod)| exit_code(pod).is_some_and(|code| ends_job(&job, code)));
        if let Some((pod, _)) = refused {
            let message = format!(
                "Container mover for pod {}/{} failed with exit code 2 matching FailJob rule at index 0",
                pod.namespace, pod.name
            );
            self.fail_job(name, &pods, alive, "PodFailurePolicy", &message);
            return;
        }
        let ended = pods
            .iter()
            .filter(|(_, pod)| pod["status"]["phase"] == "Failed")
            .count() as u32;
        let failures = ended + self.failures.get(&uid).copied().unwrap_or_default();
        if u64::from(failures) > job["spec"]["backoffLimit"].as_u64().unwrap_or(6) {
            let message = "Job has reached the specified backoff limit";
            self.fail_job(name, &pods, alive, "BackoffLimitExceeded", message);
            return;
        }
        if alive > 0 {
            return;
        }
        let pause = if failures == 0 {
            0
        } else {
            PAUSE << (failures - 1).min(5)
        };
        let last_end = pods.iter().filter_map(|(_, pod)| finished_at(pod)).max();
        let due = last_end.map_or(SignedDuration::ZERO, |end| {
            SignedDuration::from_secs(pause as i64) - now.duration_since(end)
        });
        if due > SignedDuration::ZERO {
            let due = Duration::try_from(due).unwrap_or_default();
            self.later(due, Later::Job(name.clone()));
            return;
        }
        let wake = Duration::try_from(left).unwrap_or_default();
        self.later(wake, Later::Job(name.clone()));
        self.make_pod(name, &job);
    }

    /// The pods of a Job, by its UID.
    fn pods_of(&self, job: &str) -> Vec<(Name, Object)> {
        let pods = self
            .owned_by(job)
            .into_iter()
            .filter(|(resource, _)| resource == "pods");
        pods.filter_map(|(_, name)| Some((name.clone(), self.world.server.get("pods", &name)?)))
            .collect()
    }

    fn make_pod(&mut self, name: &Name, job: &Value) {
        let template = &job["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": format!("{}-", name.name), "namespace": name.namespace,
                "labels": template["metadata"]["labels"], "ownerReferences": owned_by("batch/v1", "Job", job),
            },
            "spec": template["spec"],
        });
        pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = json!(name.name);
        pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"].clone();
        if self.world.server.put(pod).is_err() {
            // A namespace that goes takes no pods.
            self.later(Duration::from_secs(PAUSE), Later::Job(name.clone()));
        }
    }

    /// A Job fails when the last of its pods has ended.
    fn fail_job(&mut self, name: &Name, pods: &[(Name, Object)], alive: usize, reason: &str, message: &str) {
        for (pod, _) in pods.iter().filter(|(_, pod)| !is_going(pod)) {
            if pod_is_alive(pods, pod) {
                let _ = self.world.server.delete("pods", pod, &json!({}));
            }
        }
        if alive == 0 {
            self.end_job(
                name,
                &[("FailureTarget", reason, message), ("Failed", reason, message)],
            );
        }
    }

    fn end_job(&mut self, name: &Name, conditions: &[(&str, &str, &str)]) {
        let now = self.world.clock.now().to_string();
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(type_, reason, message)| {
                json!({"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now})
            })
            .collect();
        let is_complete = conditions.iter().any(|condition| condition["type"] == "Complete");
        let said = conditions
            .last()
            .map(|last| last["reason"].to_string())
            .unwrap_or_default();
        self.world
            .log
            .step(format!("Job {}/{} ends: {said}", name.namespace, name.name));
        let _ = self.world.server.change("jobs.batch", name, |job| {
            job["status"]["conditions"] = json!(conditions);
            if is_complete {
                job["status"]["completionTime"] = json!(now);
                job["status"]["succeeded"] = json!(1);
            }
        });
    }
}

fn pod_is_alive(pods: &[(Name, Object)], name: &Name) -> bool {
    pods.iter().any(|(pod, object)| pod == name && !is_over(object))
}

fn has_ended(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let mut ends =
        conditions.filter(|condition| condition["type"] == "Complete" || condition["type"] == "Failed");
    ends.any(|condition| condition["status"] == "True")
}

fn terminated(pod: &Value) -> Option<&Value> {
    pod["status"]["containerStatuses"].get(0)?["state"].get("terminated")
}

fn exit_code(pod: &Value) -> Option<i64> {
    terminated(pod)?["exitCode"].as_i64()
}

fn finished_at(pod: &Value) -> Option<Timestamp> {
    terminated(pod)?["finishedAt"].as_str()?.parse().ok()
}

fn ends_job(job: &Value, code: i64) -> bool {
    let rules = job["spec"]["podFailurePolicy"]["rules"]
        .as_array()
        .into_iter()
        .flatten();
    let mut fails = rules.filter(|rule| rule["action"] == "FailJob");
    fails.any(|rule| {
        let codes = rule["onExitCodes"]["values"].as_array();
        codes.is_some_and(|codes| codes.contains(&json!(code)))
    })
}
