//! Whether the pods of an org's workloads are spread over the zones of its region, counted from those that run.

use std::collections::{BTreeMap, BTreeSet};

/// The running pods of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningPods {
    /// The workload.
    pub workload: String,
    /// Pods that it should have.
    pub wanted: usize,
    /// Pods that run, by zone.
    pub by_zone: BTreeMap<String, usize>,
}

impl RunningPods {
    fn running(&self) -> usize {
        self.by_zone.values().sum()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpreadVerdict {
    /// Every workload of several pods runs in as many zones as it can.
    Spread,
    /// The region itself has no two zones with ready nodes: the one it has, if any.
    OneZone(Option<String>),
    /// These run in fewer zones than they could.
    Clustered(Vec<String>),
    /// These do not run all their pods, and too few zones have one yet.
    Incomplete(Vec<String>),
    /// No workload should have more than one pod.
    NothingToSpread,
}

/// Judges all workloads of an org against the zones that have ready nodes.
pub fn judge(workloads: &[RunningPods], usable: &BTreeSet<String>) -> SpreadVerdict {
    let several: Vec<&RunningPods> = workloads.iter().filter(|w| w.wanted > 1).collect();
    if several.is_empty() {
        return SpreadVerdict::NothingToSpread;
    }
    if usable.len() < 2 {
        return SpreadVerdict::OneZone(usable.first().cloned());
    }
    let (mut clustered, mut incomplete) = (Vec::new(), Vec::new());
    for workload in several {
        let (zones, possible) = (workload.by_zone.len(), workload.wanted.min(usable.len()));
        if zones >= possible {
            continue;
        }
        let name = &workload.workload;
        if workload.running() < workload.wanted {
            incomplete.push(format!(
                "{name} runs {} of {} pods",
                workload.running(),
                workload.wanted
            ));
        } else {
            clustered.push(format!("{name} runs in {zones} of {possible} zones"));
        }
    }
    if !clustered.is_empty() {
        SpreadVerdict::Clustered(clustered)
    } else if !incomplete.is_empty() {
        SpreadVerdict::Incomplete(incomplete)
    } else {
        SpreadVerdict::Spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(wanted: usize, by_zone: &[(&str, usize)]) -> RunningPods {
        RunningPods {
            workload: "web".into(),
            wanted,
            by_zone: by_zone
                .iter()
                .map(|(zone, pods)| ((*zone).to_owned(), *pods))
                .collect(),
        }
    }
    fn zones(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn p2_spread_is_counted_from_the_pods_that_run() {
        let said = |text: &str| vec![format!("web runs {text}")];
        for (running, usable, want) in [
            (
                pods(2, &[("a", 1), ("b", 1)]),
                &["a", "b", "c"][..],
                SpreadVerdict::Spread,
            ),
            (
                pods(4, &[("a", 2), ("b", 1), ("c", 1)]),
                &["a", "b", "c"],
                SpreadVerdict::Spread,
            ),
            // One zone lost its nodes: in as many as there are.
            (pods(3, &[("a", 2), ("b", 1)]), &["a", "b"], SpreadVerdict::Spread),
            // One pod is being replaced: both zones still have one.
            (pods(3, &[("a", 1), ("b", 1)]), &["a", "b"], SpreadVerdict::Spread),
            (
                pods(2, &[("a", 2)]),
                &["a", "b"],
                SpreadVerdict::Clustered(said("in 1 of 2 zones")),
            ),
            (
                pods(3, &[("a", 2), ("b", 1)]),
                &["a", "b", "c"],
                SpreadVerdict::Clustered(said("in 2 of 3 zones")),
            ),
            (
                pods(2, &[("a", 1)]),
                &["a", "b"],
                SpreadVerdict::Incomplete(said("1 of 2 pods")),
            ),
            (
                pods(2, &[]),
                &["a", "b"],
                SpreadVerdict::Incomplete(said("0 of 2 pods")),
            ),
            (
                pods(2, &[("a", 2)]),
                &["a"],
                SpreadVerdict::OneZone(Some("a".into())),
            ),
            (pods(2, &[]), &[], SpreadVerdict::OneZone(None)),
            (pods(1, &[("a", 1)]), &["a", "b"], SpreadVerdict::NothingToSpread),
            (pods(0, &[]), &["a", "b"], SpreadVerdict::NothingToSpread),
        ] {
            assert_eq!(
                judge(std::slice::from_ref(&running), &zones(usable)),
                want,
                "{running:?}"
            );
        }
        assert_eq!(judge(&[], &zones(&["a", "b"])), SpreadVerdict::NothingToSpread);
    }

    #[test]
    fn p2_one_workload_that_is_not_spread_is_enough() {
        let (spread, single) = (pods(2, &[("a", 1), ("b", 1)]), pods(1, &[("a", 1)]));
        let all = [spread, single, pods(2, &[("a", 2)])];
        assert!(
            matches!(judge(&all, &zones(&["a", "b"])), SpreadVerdict::Clustered(named) if named.len() == 1)
        );
    }
}
