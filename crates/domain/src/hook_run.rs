//! The hooks of a run that run at present, and what becomes of them.

use jiff::{SignedDuration, Timestamp};

use super::ids::PartId;

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookMoment {
    /// Before the volume is copied: makes it consistent.
    Pre,
    /// At the end of the run: lets the workload go on.
    Post,
}

impl HookMoment {
    /// As in `spec.workloads[].backup`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
        }
    }
}

/// A hook that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    /// The claim whose part it is for.
    pub part: PartId,
    /// When it runs.
    pub moment: HookMoment,
    /// The pod that it runs in.
    pub pod: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is ended.
    pub until: Timestamp,
}

/// Whether it is known that no `pre` hook of a run lives that this process has not begun: the run was planned when the process was
/// there already. What the one before it had begun may run on.
pub fn has_begun_all(planned_at: Timestamp, process_since: Timestamp) -> bool {
    planned_at >= process_since
}

/// A hook that has run for less is never said to hang.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

impl HookRun {
    /// From when on it is taken to hang: when half its time is over. Until then it does what it is for.
    pub fn hangs_from(&self) -> Timestamp {
        let half = self.until.duration_since(self.since) / 2;
        self.since
            .checked_add(half.max(PATIENCE))
            .unwrap_or(self.until)
            .min(self.until)
    }
}

impl std::fmt::Display for HookRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            part,
            moment,
            pod,
            since,
            until,
        } = self;
        let moment = moment.as_str();
        write!(
            f,
            "the {moment} hook of {part} runs in pod {pod} since {}, until {} at the latest",
            whole(*since),
            whole(*until)
        )
    }
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The hook that has hung for longest; else when the first one will.
pub fn hanging(running: &[HookRun], now: Timestamp) -> Result<&HookRun, Option<Timestamp>> {
    let first = running.iter().min_by_key(|hook| hook.hangs_from());
    match first {
        Some(hook) if hook.hangs_from() <= now => Ok(hook),
        later => Err(later.map(HookRun::hangs_from)),
    }
}

/// For how long after the end of a run its `post` hooks wait for a pod to run in: that which was there may be on its way back.
const POD_PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Until when the `post` hooks of a run that ended then wait for a pod.
pub fn waits_for_pod_until(ended_at: Timestamp) -> Timestamp {
    ended_at.checked_add(POD_PATIENCE).unwrap_or(ended_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }
    fn hook(since: i64, until: i64) -> HookRun {
        HookRun {
            part: "data-db-0".parse().unwrap(),
            moment: HookMoment::Pre,
            pod: "db-0".into(),
            since: at(since),
            until: at(until),
        }
    }

    #[test]
    fn a_hook_hangs_when_half_its_time_is_over_and_not_in_its_first_minutes() {
        for (since, until, from) in [
            (0, 60, 30),
            (0, 600, 300),
            (0, 15, 10),
            (0, 5, 5),
            (100, 160, 130),
        ] {
            assert_eq!(hook(since, until).hangs_from(), at(from), "{since} {until}");
        }
    }

    #[test]
    fn of_a_run_from_before_a_process_hooks_may_live() {
        for (planned_at, known) in [(9, false), (10, true), (11, true)] {
            assert_eq!(has_begun_all(at(planned_at), at(10)), known, "{planned_at}");
        }
    }

    #[test]
    fn the_first_that_hangs_is_told_else_when_one_will() {
        let running = [hook(10, 610), hook(0, 60)];
        assert_eq!(hanging(&running, at(29)), Err(Some(at(30))));
        assert_eq!(hanging(&running, at(30)), Ok(&running[1]));
        assert_eq!(hanging(&[], at(30)), Err(None));
    }

    #[test]
    fn a_hook_is_named_with_its_pod_and_its_times() {
        assert_eq!(
            hook(0, 60).to_string(),
            "the pre hook of data-db-0 runs in pod db-0 since 1970-01-01T00:00:00Z, until 1970-01-01T01:00:00Z at the latest"
        );
    }
}
