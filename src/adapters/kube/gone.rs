//! Objects that are gone. The answer to a write may be taken in after the watch has told that the object was deleted
//! since: without this it would come back to life, and nobody would ever tell of its end again.

use std::collections::{HashSet, VecDeque};

/// How many are remembered: far more than there are answers under way.
const REMEMBERED: usize = 1_024;

/// UIDs of the objects that went last. A UID is never used again.
#[derive(Default)]
pub struct Gone {
    uids: HashSet<String>,
    in_order: VecDeque<String>,
}

impl Gone {
    /// The object is gone.
    pub fn add(&mut self, uid: &str) {
        if !self.uids.insert(uid.to_owned()) {
            return;
        }
        self.in_order.push_back(uid.to_owned());
        if self.in_order.len() > REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    /// Whether it is known to be gone.
    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered_and_no_more() {
        let mut gone = Gone::default();
        for number in 0..=REMEMBERED {
            gone.add(&number.to_string());
            gone.add(&number.to_string());
        }
        assert!(!gone.has("0") && gone.has("1") && gone.has(&REMEMBERED.to_string()));
        assert_eq!((gone.uids.len(), gone.in_order.len()), (REMEMBERED, REMEMBERED));
    }
}
