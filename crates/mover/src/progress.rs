//! How far a mover is, in its log: a line when a phase ends, and one every half minute while it runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::Instrument;
use tray_engine::Progress;

/// A line of the log at least this often: who reads it sees whether a mover works or hangs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Counts what the engine does.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// Files and bytes so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (
            self.files.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

impl Progress for Counter {
    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One phase of a mover; its heartbeat ends with it.
pub(crate) struct Phase {
    counter: Arc<Counter>,
    heartbeat: tokio::task::JoinHandle<()>,
}

impl Phase {
    /// Begins a phase. Within a tokio runtime.
    pub(crate) fn begin(name: &'static str) -> Self {
        let counter = Arc::new(Counter::default());
        tracing::info!(phase = name, "begins");
        let seen = Arc::clone(&counter);
        let beat = async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                let (files, bytes) = seen.so_far();
                tracing::info!(phase = name, files, bytes, "goes on");
            }
        };
        Self {
            counter,
            heartbeat: tokio::spawn(beat.in_current_span()),
        }
    }

    /// What the engine counts on.
    pub(crate) fn counter(&self) -> Arc<Counter> {
        Arc::clone(&self.counter)
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_counts_from_several_threads() {
        let phase = Phase::begin("copy");
        let counter = phase.counter();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || (0..100).for_each(|_| counter.advance(1, 10)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(counter.so_far(), (400, 4000));
    }
}
