//! Whether the movers of an org get to work. Kubernetes tells in many places; none of them ends a Job before its deadline.

use jiff::{SignedDuration, Timestamp};

use crate::{
    adapters::kube::facts::{JobFact, Phase, PodFact, PodProblem},
    controllers::conditions::whole_seconds,
};

/// A pod or its container takes so long to begin on a busy cluster.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// What keeps a mover from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoverHindrance {
    /// For people: names the object.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

/// From when on a hindrance is told of as trouble: it may go by itself.
const TROUBLE: SignedDuration = SignedDuration::from_mins(15);

impl MoverHindrance {
    /// From when on it is trouble.
    pub fn is_trouble_from(&self) -> Timestamp {
        self.since.checked_add(TROUBLE).unwrap_or(self.since)
    }
}

impl std::fmt::Display for MoverHindrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} since {}", self.what, whole_seconds(self.since))
    }
}

/// What has kept a mover of these Jobs and pods from its work for longest.
pub fn hindrance<'a>(
    jobs: impl Iterator<Item = &'a JobFact>,
    pods: impl Iterator<Item = &'a PodFact>,
    now: Timestamp,
) -> Option<MoverHindrance> {
    let without_pod = jobs.filter_map(|job| without_pod(job, now));
    let not_started = pods.filter_map(|pod| not_started(pod, now));
    without_pod.chain(not_started).min_by_key(|found| found.since)
}

/// A Job whose controller makes no pod: a policy, a quota or a webhook refuses it. Its events alone say which.
fn without_pod(job: &JobFact, now: Timestamp) -> Option<MoverHindrance> {
    let since = job
        .started
        .filter(|_| job.phase == Phase::Running && !job.has_pod && !job.deleting)?;
    (now.duration_since(since) >= PATIENCE).then(|| MoverHindrance {
        what: format!(
            "no pod of Job {name} is made, for a reason that `kubectl describe job --namespace {} {name}` shows,",
            job.namespace,
            name = job.name
        ),
        since,
    })
}

fn not_started(pod: &PodFact, now: Timestamp) -> Option<MoverHindrance> {
    if pod.deleting || pod.has_ended() {
        return None;
    }
    let since = Timestamp::from_second(pod.created).ok()?;
    let what = match &pod.problem {
        // What the scheduler says counts nodes: it would be written again with each that comes or goes.
        Some((PodProblem::Unschedulable, _)) => format!("no node takes pod {},", pod.name),
        Some((_, said)) => format!("pod {}: {said},", pod.name),
        None if pod.phase == "Pending" && now.duration_since(since) >= PATIENCE => format!(
            "pod {name} does not start, for a reason that `kubectl describe pod --namespace {} {name}` shows,",
            pod.namespace,
            name = pod.name
        ),
        None => return None,
    };
    Some(MoverHindrance { what, since })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(minute: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
    }
    fn job(status: &Value) -> JobFact {
        let job = json!({"metadata": {"name": "snap-1", "namespace": "n"}, "spec": {"template": {}, "suspend": false},
            "status": status});
        JobFact::of(&serde_json::from_value(job).unwrap())
    }
    fn pod(status: &Value) -> PodFact {
        let pod = json!({"metadata": {"name": "snap-1-x", "namespace": "n", "creationTimestamp": at(0).to_string()},
            "status": status});
        PodFact::of(&serde_json::from_value(pod).unwrap())
    }
    fn found(jobs: &[JobFact], pods: &[PodFact], minute: i64) -> Option<String> {
        hindrance(jobs.iter(), pods.iter(), at(minute)).map(|found| found.to_string())
    }

    #[test]
    fn a_mover_that_does_not_begin_says_what_to_look_at_and_since_when() {
        let begun = job(&json!({"startTime": at(0).to_string()}));
        let with_pod = job(&json!({"startTime": at(0).to_string(), "active": 1}));
        let ended = job(
            &json!({"startTime": at(0).to_string(), "conditions": [{"type": "Complete", "status": "True"}]}),
        );
        let unschedulable = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
        let image = json!({"phase": "Pending", "containerStatuses": [{"name": "mover", "image": "i:1", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}]});
        let pending = json!({"phase": "Pending"});
        let running = json!({"phase": "Running"});
        for (jobs, pods, minute, said) in [
            (vec![begun.clone()], vec![], 1, None),
            (vec![begun], vec![], 2, Some("no pod of Job snap-1 is made")),
            (vec![with_pod], vec![], 60, None),
            (vec![ended], vec![], 60, None),
            (
                vec![],
                vec![pod(&unschedulable)],
                0,
                Some("no node takes pod snap-1-x"),
            ),
            (
                vec![],
                vec![pod(&image)],
                0,
                Some("pod snap-1-x: image i:1 cannot be pulled"),
            ),
            (vec![], vec![pod(&pending)], 1, None),
            (
                vec![],
                vec![pod(&pending)],
                2,
                Some("pod snap-1-x does not start"),
            ),
            (vec![], vec![pod(&running)], 60, None),
        ] {
            let told = found(&jobs, &pods, minute);
            match said {
                Some(said) => {
                    let told = told.unwrap_or_default();
                    assert!(
                        told.starts_with(said) && told.ends_with("since 2026-01-01T00:00:00Z"),
                        "{told}"
                    );
                }
                None => assert_eq!(told, None),
            }
        }
    }
}
