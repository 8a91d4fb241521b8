//! What goes wrong between the processes and the API server.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tray_testkit::cluster::{Call, Cut, Fate, Faults, Outcome, Verb, busy, failure};

use crate::{log::Log, random::Random};

/// No request takes no time: two who undo each other's writes would never end.
const LEAST: Duration = Duration::from_millis(1);

/// How often what goes wrong with requests to the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ApiRates {
    /// The longest that a request or its answer is on its way.
    pub latency: Duration,
    /// Refused because the server is busy, or away.
    pub busy: f64,
    /// The connection breaks before anything is done.
    pub dropped: f64,
    /// It is done, and the connection breaks before the answer.
    pub lost: f64,
    /// A watch is cut off within a minute.
    pub cut: f64,
    /// A watch that resumes is told that it is too late.
    pub expired: f64,
    /// A watch begins with the past.
    pub stale: f64,
    /// The longest that a watch is behind as a rule.
    pub lag: Duration,
    /// A watch is far behind.
    pub far_behind: f64,
}

/// Decides what goes wrong. Events of Kubernetes are written by the clock of the machine, so they are refused: nobody reads them
/// here.
pub struct ApiFaults {
    random: Random,
    rates: ApiRates,
    log: Arc<Log>,
}

impl ApiFaults {
    /// At these rates.
    pub fn new(random: Random, rates: ApiRates, log: Arc<Log>) -> Self {
        Self { random, rates, log }
    }

    fn outcome(&mut self, call: &Call) -> Outcome {
        let rates = self.rates;
        if self.random.chance(rates.busy) {
            self.log.sometimes("the API server is busy");
            let status = if self.random.chance(0.5) {
                busy(429, Some(1))
            } else {
                busy(503, Some(1))
            };
            return Outcome::Refused(status);
        }
        if self.random.chance(rates.dropped) {
            self.log.sometimes("a request is lost");
            return Outcome::Dropped;
        }
        if call.verb.writes() && self.random.chance(rates.lost) {
            self.log.sometimes("an answer of the API server is lost");
            return Outcome::AnswerLost;
        }
        if call.resumes && self.random.chance(rates.expired) {
            self.log.sometimes("a watch is too late");
            return Outcome::Expired;
        }
        Outcome::Done
    }
}

impl Faults for ApiFaults {
    fn fate(&mut self, call: &Call, _: Timestamp) -> Fate {
        if call.resource == "events.events.k8s.io" {
            return Fate::of(Outcome::Refused(failure(
                403,
                "Forbidden",
                "events are not kept here".to_owned(),
            )));
        }
        let most = self.rates.latency;
        let mut fate = Fate {
            before: LEAST + self.random.between(Duration::ZERO, most),
            outcome: self.outcome(call),
            after: self.random.between(Duration::ZERO, most),
            ..Fate::default()
        };
        if call.verb == Verb::Watch {
            if self.rates.cut > 0.0 {
                // Once in so many minutes.
                let minutes = 1 + self.random.below((2.0 / self.rates.cut) as u64);
                let cut = if self.random.chance(0.5) {
                    Cut::Ended
                } else {
                    Cut::Broken
                };
                fate.cut = Some((Duration::from_secs(60 * minutes), cut));
            }
            if !call.resumes && self.random.chance(self.rates.stale) {
                self.log.sometimes("a watch begins with the past");
                fate.stale_by = self.random.between(Duration::ZERO, Duration::from_secs(60));
            }
        }
        fate
    }

    fn lag(&mut self, _: &Call, _: Timestamp) -> Duration {
        if self.random.chance(self.rates.far_behind) {
            self.log.sometimes("a watch is far behind");
            return self
                .random
                .between(Duration::from_secs(1), Duration::from_secs(600));
        }
        self.random.between(Duration::ZERO, self.rates.lag)
    }
}
