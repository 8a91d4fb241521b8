//! What a person sees while something takes time: one line a step, with the seconds since the start.

use std::time::Instant;

/// Prints steps to standard error, so that standard output stays free for answers.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    started: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Reports something that begins now or has just been done.
    pub fn step(&self, text: impl AsRef<str>) {
        eprintln!(
            "[{:6.1} s] {}",
            self.started.elapsed().as_secs_f64(),
            text.as_ref()
        );
    }
}
