//! The keys of one controller that wait to be reconciled.
//!
//! A key waits once, at the earliest time anybody asked for. It is never handed out while it is being worked on: what
//! is asked for meanwhile is handed out afterwards.

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
/// Longest pause after failures.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

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
}

#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    running: bool,
    failures: u32,
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
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// `key` was worked on. It is handed out again after `again`, where that is given.
    pub fn done(&self, key: &str, again: Option<Duration>) {
        let mut state = self.state();
        if let Some(entry) = state.keys.get_mut(key) {
            entry.failures = 0;
        }
        state.finish(key, again.map(|delay| Instant::now() + delay));
        drop(state);
        self.changed.notify_one();
    }

    /// Working on `key` failed: it is handed out again after a pause that grows. Returns the pause.
    pub fn failed(&self, key: &str) -> Duration {
        let mut state = self.state();
        let entry = state.keys.entry(key.to_owned()).or_default();
        let pause = backoff(entry.failures);
        entry.failures = entry.failures.saturating_add(1);
        // What was asked for meanwhile waits, too: a service that is down is not asked at every change.
        if let Some(due) = entry.due.take() {
            state.due.remove(&(due, key.to_owned()));
        }
        state.finish(key, Some(Instant::now() + pause));
        drop(state);
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
    fn schedule(&mut self, key: String, at: Instant) {
        let entry = self.keys.entry(key.clone()).or_default();
        if let Some(due) = entry.due {
            if due <= at {
                return;
            }
            self.due.remove(&(due, key.clone()));
        }
        entry.due = Some(at);
        if !entry.running {
            self.due.insert((at, key));
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
    use futures::FutureExt;

    use super::*;

    fn nothing(queue: &Queue) -> bool {
        queue.next().now_or_never().is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_at_the_earliest_time() {
        let queue = Queue::default();
        queue.after("a".to_owned(), Duration::from_secs(60));
        queue.after("a".to_owned(), Duration::from_secs(5));
        queue.after("a".to_owned(), Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done("a", None);
        assert!(nothing(&queue));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_worked_on_is_handed_out_afterwards() {
        let queue = Queue::default();
        queue.now("a".to_owned());
        assert_eq!(queue.next().await, "a");
        queue.now("a".to_owned());
        assert!(nothing(&queue));
        queue.done("a", Some(Duration::from_secs(3600)));
        assert_eq!(queue.next().now_or_never().as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_with_failures_and_success_forgets_them() {
        let queue = Queue::default();
        queue.now("a".to_owned());
        for seconds in [1, 2, 4] {
            queue.next().await;
            // A change meanwhile does not cut the pause short.
            queue.now("a".to_owned());
            assert_eq!(queue.failed("a").as_secs(), seconds);
            assert!(nothing(&queue));
        }
        queue.next().await;
        queue.done("a", Some(Duration::ZERO));
        queue.next().await;
        assert_eq!(queue.failed("a").as_secs(), 1);
        assert_eq!(backoff(40), LONGEST_BACKOFF);
    }

    #[tokio::test(start_paused = true)]
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
