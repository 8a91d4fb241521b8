//! What was found to be applied of orgs' children, in a few numbers each. Most passes over an org are for a pod or a verdict: while
//! what its children are made from and what they are is the same, they need not be made up and compared again.

use std::{
    collections::HashMap,
    fmt::{Debug, Write},
    hash::{DefaultHasher, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::enforcement::Acknowledged;

/// What was found to be applied, by org.
#[derive(Default)]
pub(super) struct AppliedOrgs(Mutex<HashMap<String, Applied>>);

/// What was found to be applied of one org's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    /// [`fingerprint`] of what they were made from.
    inputs: u64,
    /// What they were: `Children::mark`.
    children: u64,
    acknowledged: Acknowledged,
}

impl AppliedOrgs {
    fn orgs(&self) -> MutexGuard<'_, HashMap<String, Applied>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All children that are made from those inputs were as they should be.
    pub(super) fn note(&self, org: &str, inputs: u64, children: u64, acknowledged: Acknowledged) {
        let applied = Applied {
            inputs,
            children,
            acknowledged,
        };
        self.orgs().insert(org.to_owned(), applied);
    }

    /// What isolates the org, where its children are known to be as they should be: they are to be made from the same, and are what
    /// they were when it was found so.
    pub(super) fn is_whole(&self, org: &str, inputs: u64, children: u64) -> Option<Acknowledged> {
        let known = *self.orgs().get(org)?;
        let same = known.inputs == inputs && known.children == children;
        same.then_some(known.acknowledged)
    }

    /// The org is gone.
    pub(super) fn forget(&self, org: &str) {
        self.orgs().remove(org);
    }
}

/// A number that is the same for what says the same of itself.
pub(super) fn fingerprint(of: &impl Debug) -> u64 {
    struct Text(DefaultHasher);
    impl Write for Text {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut text = Text(DefaultHasher::new());
    // It takes whatever it is given.
    let _ = write!(text, "{of:?}");
    text.0.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_is_whole_while_inputs_and_children_are_what_they_were() {
        let applied = AppliedOrgs::default();
        let is_whole = |inputs, children| applied.is_whole("acme", inputs, children).is_some();
        assert!(!is_whole(1, 1), "nothing is known yet");
        applied.note("acme", 1, 1, Acknowledged::default());
        assert!(is_whole(1, 1));
        assert!(!is_whole(2, 1), "they are made from something else");
        assert!(!is_whole(1, 2), "they are others");
        applied.note("acme", 1, 2, Acknowledged::default());
        assert!(is_whole(1, 2) && !is_whole(1, 1));
        assert!(applied.is_whole("other", 1, 2).is_none());
        applied.forget("acme");
        assert!(!is_whole(1, 2));
    }

    #[test]
    fn a_fingerprint_is_of_all_that_is_said() {
        assert_eq!(fingerprint(&("a", 1)), fingerprint(&("a", 1)));
        for other in [("a", 2), ("b", 1)] {
            assert_ne!(fingerprint(&("a", 1)), fingerprint(&other));
        }
    }
}
