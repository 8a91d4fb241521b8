//! The keys of one controller that wait to be reconciled.
//!
//! A key waits once, at the earliest time anybody asked for. It is never handed out while it is being worked on: what
//! is asked for meanwhile is handed out afterwards. One that fails again and again waits out its pause, whatever asks for it: a
//! failure is told in a status, and that is a change, too.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// First pause after a failure; doubled at each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Pause between keys that take turns: 50 a second.
const TURN: Duration = Duration::from_millis(20);
/// Longest pause after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Keys that wait.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    due: BTreeSet<(Instant, String)>,
    keys: HashMap<String, Entry>,
    /// When the next key that takes turns may be handed out.
    next_turn: Option<Instant>,
}

#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    running: bool,
    failures: u32,
    /// Until when it waits after failures, whatever asks for it.
    paused_until: Option<Instant>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `key` out as soon as it can be.
    pub fn now(&self, key: String) {
        self.at(key, Instant::now());
    }

    /// Hands `key` out after `delay`, unless somebody wants it earlier.
    pub fn after(&self, key: String, delay: Duration) {
        self.at(key, Instant::now() + delay);
    }

    /// Hands `keys` out one after the other, [`TURN`] apart: for what concerns very many at once, which must not all
    /// write at once.
    pub fn in_turn(&self, keys: Vec<String>) {
        self.state().in_turn(keys, Instant::now());
        self.changed.notify_one();
    }

    fn at(&self, key: String, at: Instant) {
        self.state().schedule(key, at);
        self.changed.notify_one();
    }

    /// The next key that is due, once there is one. It is being worked on until [`Self::done`].
    pub async fn next(&self) -> String {
        loop {
            // Before the look, so that a key that comes in between wakes us.
            let changed = self.changed.notified();
            let wait = match self.state().take(Instant::now()) {
                Ok(key) => return key,
                Err(wait) => wait,
            };
            match wait {
                Some(at) => tokio::select! {
                    // In order, so that the same course of things is always taken the same way.
                    biased;
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// `key` was worked on. It is handed out again after `again`, where that is given.
    pub fn done(&self, key: &str, again: Option<Duration>) {
        self.state().done(key, again.map(|delay| Instant::now() + delay));
        self.changed.notify_one();
    }

    /// Working on `key` failed: it is handed out again after a pause that grows. Returns the pause.
    pub fn failed(&self, key: &str) -> Duration {
        let pause = self.state().failed(key, Instant::now());
        self.changed.notify_one();
        pause
    }

    /// Keys that wait or are worked on.
    pub fn len(&self) -> usize {
        let state = self.state();
        state
            .keys
            .values()
            .filter(|e| e.running || e.due.is_some_and(|at| at <= Instant::now()))
            .count()
    }

    /// Whether nothing is due and nothing is worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The pause after that many failures before.
fn backoff(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.min(16));
    FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF)
}

impl State {
    /// Returns whether the key would have waited longer.
    fn schedule(&mut self, key: String, at: Instant) -> bool {
        let entry = self.keys.entry(key.clone()).or_default();
        let at = entry.paused_until.map_or(at, |end| end.max(at));
        if let Some(due) = entry.due {
            if due <= at {
                return false;
            }
            self.due.remove(&(due, key.clone()));
        }
        entry.due = Some(at);
        if !entry.running {
            self.due.insert((at, key));
        }
        true
    }

    fn in_turn(&mut self, keys: Vec<String>, now: Instant) {
        for key in keys {
            let at = self.next_turn.map_or(now, |turn| turn.max(now));
            if self.schedule(key, at) {
                self.next_turn = Some(at + TURN);
            }
        }
    }

    /// A key that is due; or when the first will be.
    fn take(&mut self, now: Instant) -> Result<String, Option<Instant>> {
        let Some((at, _)) = self.due.first() else {
            return Err(None);
        };
        if *at > now {
            return Err(Some(*at));
        }
        let Some((_, key)) = self.due.pop_first() else {
            return Err(None);
        };
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.due = None;
            entry.running = true;
        }
        Ok(key)
    }

    fn done(&mut self, key: &str, again: Option<Instant>) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.failures = 0;
            entry.paused_until = None;
        }
        self.finish(key, again);
    }

    fn failed(&mut self, key: &str, now: Instant) -> Duration {
        let entry = self.keys.entry(key.to_owned()).or_default();
        let pause = backoff(entry.failures);
        // What failed once may well be put right by the change that comes next.
        entry.paused_until = (entry.failures > 0).then_some(now + pause);
        entry.failures = entry.failures.saturating_add(1);
        // What was asked for while it was worked on waits, too.
        entry.due = None;
        self.finish(key, Some(now + pause));
        pause
    }

    fn finish(&mut self, key: &str, again: Option<Instant>) {
        if let Some(again) = again {
            self.schedule(key.to_owned(), again);
        }
        let Some(entry) = self.keys.get_mut(key) else {
            return;
        };
        entry.running = false;
        match entry.due {
            Some(at) => {
                self.due.insert((at, key.to_owned()));
            }
            None if entry.failures == 0 => {
                self.keys.remove(key);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state, and a moment to count seconds from.
    fn state() -> (State, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (State::default(), move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }
    fn wait(state: &mut State, key: &str, at: Instant) {
        state.schedule(key.to_owned(), at);
    }

    #[test]
    fn a_key_waits_once_at_the_earliest_time() {
        let (mut state, at) = state();
        for seconds in [60, 5, 30] {
            wait(&mut state, "a", at(seconds));
        }
        assert_eq!(state.take(at(4)), Err(Some(at(5))));
        assert_eq!(state.take(at(5)), Ok("a".to_owned()));
        state.done("a", None);
        assert_eq!(state.take(at(100)), Err(None));
    }

    #[test]
    fn a_key_that_is_worked_on_is_handed_out_afterwards() {
        let (mut state, at) = state();
        wait(&mut state, "a", at(0));
        assert!(state.take(at(0)).is_ok());
        wait(&mut state, "a", at(1));
        assert_eq!(state.take(at(2)), Err(None));
        // The change that came meanwhile is earlier than the timer.
        state.done("a", Some(at(3600)));
        assert!(state.take(at(2)).is_ok());
    }

    #[test]
    fn pauses_grow_with_failures_and_success_forgets_them() {
        let (mut state, at) = state();
        wait(&mut state, "a", at(0));
        let mut now = 0;
        for seconds in [1, 2, 4] {
            assert!(state.take(at(now)).is_ok());
            // A change meanwhile does not cut the pause short.
            wait(&mut state, "a", at(now));
            assert_eq!(state.failed("a", at(now)).as_secs(), seconds);
            now += seconds;
            assert_eq!(state.take(at(now - 1)), Err(Some(at(now))));
        }
        assert!(state.take(at(now)).is_ok());
        state.done("a", Some(at(now)));
        assert!(state.take(at(now)).is_ok());
        assert_eq!(state.failed("a", at(now)).as_secs(), 1);
        assert_eq!(backoff(40), LONGEST_BACKOFF);
    }

    /// What a failure says of itself in a status comes back as a change.
    #[test]
    fn what_fails_again_waits_out_its_pause_whatever_changes() {
        let (mut state, at) = state();
        wait(&mut state, "a", at(0));
        assert!(state.take(at(0)).is_ok());
        state.failed("a", at(0));
        wait(&mut state, "a", at(0));
        assert!(
            state.take(at(0)).is_ok(),
            "after the first failure it is looked at again at once"
        );
        state.failed("a", at(0));
        wait(&mut state, "a", at(1));
        assert_eq!(state.take(at(1)), Err(Some(at(2))));
        assert!(state.take(at(2)).is_ok());
        state.done("a", None);
        wait(&mut state, "a", at(2));
        assert!(state.take(at(2)).is_ok(), "success ends it");
    }

    #[test]
    fn p1_what_concerns_a_hundred_keys_hands_out_fifty_a_second() {
        let (mut state, at) = state();
        let keys = |from: u32, to: u32| (from..to).map(|n| format!("org-{n:03}")).collect::<Vec<_>>();
        let handed_out =
            |state: &mut State, now: Instant| std::iter::from_fn(|| state.take(now).ok()).count();
        state.in_turn(keys(0, 100), at(0));
        assert_eq!(handed_out(&mut state, at(0)), 1);
        assert_eq!(handed_out(&mut state, at(1)), 50);
        // Another such change meanwhile waits for its turn, too; who waits already does not wait twice.
        state.in_turn(keys(90, 150), at(1));
        assert_eq!(handed_out(&mut state, at(2)), 49 + 1);
        assert_eq!(handed_out(&mut state, at(3)), 49);
        assert_eq!(state.take(at(100)), Err(None));
        // One key is handed out at once, and so is what concerns one alone.
        state.in_turn(keys(200, 201), at(200));
        wait(&mut state, "alone", at(200));
        assert_eq!(handed_out(&mut state, at(200)), 2);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_for_a_new_key() {
        let queue = std::sync::Arc::new(Queue::default());
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.now("b".to_owned());
        assert_eq!(reader.await.unwrap(), "b");
    }
}
