//! Awaiting a condition.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a condition is asked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks `condition` until it answers `Some`. After `deadline`, [`Error::TimedOut`] with `what` did not happen and the log
/// that says more. An error of the condition itself ends the wait.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    look_at: &Path,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            return Err(Error::TimedOut {
                what: what.to_owned(),
                seconds: deadline.as_secs(),
                look_at: look_at.to_owned(),
            });
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut asked = 0;
        let answer = until(
            "it was never three",
            Duration::from_secs(60),
            Path::new("log"),
            || {
                asked += 1;
                Ok((asked == 3).then_some(asked))
            },
        );
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn one_that_does_not_says_what_and_where_to_look() {
        let error = until("nothing happened", Duration::ZERO, Path::new("x.log"), || {
            Ok(None::<()>)
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "nothing happened within 0 s; see x.log");
    }
}
