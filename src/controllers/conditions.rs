//! Conditions of a status: merged so that only real changes move their times.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tray_api::conditions::types;

/// How many names a message lists.
const NAMED: usize = 5;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    /// As in the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// From the condition; anything unknown is Unknown.
    pub fn parse(text: &str) -> Self {
        match text {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// What a condition says, without its type and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFact {
    /// True, False or Unknown.
    pub status: Truth,
    /// A constant of `api::conditions::reasons`.
    pub reason: String,
    /// For people: names the object, the field and the remedy.
    pub message: String,
}

impl ConditionFact {
    /// Says so.
    pub fn new(status: impl Into<Truth>, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status: status.into(),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// What a recorded condition says.
    pub fn of(condition: &Condition) -> Self {
        Self {
            status: Truth::parse(&condition.status),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }
    }
}

/// The conditions of a status under construction. What is not set is not in it: Reconciling, Stalled and other
/// conditions that are absent unless true go away by themselves.
pub struct Conditions<'a> {
    recorded: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    built: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Begins with none, for that generation of the spec. `recorded` is what the status holds now.
    pub fn new(recorded: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            recorded,
            generation,
            now,
            built: Vec::new(),
        }
    }

    /// Sets a condition. Its time is the recorded one's while its status is.
    pub fn set(&mut self, type_: &str, fact: &ConditionFact) -> &mut Self {
        let recorded = self.recorded(type_);
        let since = recorded
            .filter(|recorded| recorded.status == fact.status.as_str())
            .map_or(Time(whole_seconds(self.now)), |recorded| {
                recorded.last_transition_time.clone()
            });
        let condition = Condition {
            type_: type_.to_owned(),
            status: fact.status.as_str().to_owned(),
            reason: fact.reason.clone(),
            // The API server takes no more.
            message: fact.message.chars().take(2_000).collect(),
            observed_generation: self.generation,
            last_transition_time: since,
        };
        self.built.retain(|built| built.type_ != type_);
        self.built.push(condition);
        self
    }

    /// The recorded condition of that type.
    pub fn recorded(&self, type_: &str) -> Option<&'a Condition> {
        find(self.recorded, type_)
    }

    /// Takes the recorded condition over as it is: what it says has not been looked at anew.
    pub fn keep(&mut self, type_: &str) -> &mut Self {
        if let Some(recorded) = self.recorded(type_) {
            self.built.retain(|built| built.type_ != type_);
            self.built.push(recorded.clone());
        }
        self
    }

    /// Sets Ready False and Stalled: a person must act.
    pub fn stalled(&mut self, reason: &str, message: &str) -> &mut Self {
        self.set(types::READY, &ConditionFact::new(false, reason, message));
        self.set(types::STALLED, &ConditionFact::new(true, reason, message))
    }

    /// Sets Reconciling: work goes on.
    pub fn reconciling(&mut self, reason: &str, message: &str) -> &mut Self {
        self.set(types::RECONCILING, &ConditionFact::new(true, reason, message))
    }

    /// The conditions in the order they were recorded in, new ones last: an order that moves would be a change.
    pub fn build(mut self) -> Vec<Condition> {
        let place = |type_: &str| {
            let recorded = self.recorded.iter().position(|c| c.type_ == type_);
            recorded.unwrap_or(usize::MAX)
        };
        self.built.sort_by_key(|built| place(&built.type_));
        self.built
    }
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of that type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// The first few names of a message, and how many more there are.
pub fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The API keeps whole seconds: a fraction would differ from what is read back.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn ready(value: bool, message: &str) -> ConditionFact {
        ConditionFact::new(value, "Reason", message)
    }
    fn set(recorded: &[Condition], fact: &ConditionFact, now: i64) -> Vec<Condition> {
        let mut conditions = Conditions::new(recorded, Some(1), at(now));
        conditions.set(types::READY, fact);
        conditions.build()
    }

    #[test]
    fn the_time_moves_with_the_status_and_not_with_the_message() {
        let first = set(&[], &ready(true, "one"), 10);
        let second = set(&first, &ready(true, "two"), 20);
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!(second[0].message, "two");
        let third = set(&second, &ready(false, "two"), 30);
        assert_eq!(third[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn the_same_again_is_equal_to_the_last_bit() {
        let first = set(&[], &ready(true, "one"), 10);
        assert_eq!(set(&first, &ready(true, "one"), 99), first);
    }

    #[test]
    fn what_is_not_set_goes_and_what_is_kept_stays() {
        let mut conditions = Conditions::new(&[], Some(1), at(1));
        conditions
            .stalled("Why", "because")
            .set(types::RPO_MET, &ready(true, "m"));
        let recorded = conditions.build();
        assert!(is_true(&recorded, types::STALLED));
        let mut conditions = Conditions::new(&recorded, Some(2), at(2));
        conditions
            .set(types::READY, &ready(true, "m"))
            .keep(types::RPO_MET)
            .keep(types::PLACED);
        let built = conditions.build();
        let names: Vec<_> = built.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(names, [types::READY, types::RPO_MET]);
        assert_eq!(built[1].observed_generation, Some(1));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(listed(&names[..2]), "0, 1");
    }
}
