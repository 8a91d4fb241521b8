//! What stands between a process and the world: it is alive, frozen, or dead.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::lock::lock;

/// How a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Alive,
    Frozen,
    Dead,
}

/// What every call of a process goes through, on its way out and on its way back.
///
/// Whoever waits goes on in the order in which they came. A channel that is watched would take them in an order by chance.
#[derive(Debug, Default)]
pub struct Gate {
    condition: Mutex<Condition>,
    turned: Notify,
}

impl Gate {
    /// Until the process is alive: at once, when it is thawed, or never.
    pub async fn pass(&self) {
        self.until(Condition::Alive).await;
    }

    /// Until it is frozen.
    pub async fn frozen(&self) {
        self.until(Condition::Frozen).await;
    }

    /// Until it is dead.
    pub async fn dead(&self) {
        self.until(Condition::Dead).await;
    }

    /// Its calls wait from now on.
    pub fn freeze(&self) {
        self.turn(Condition::Frozen);
    }

    /// Its calls go on.
    pub fn thaw(&self) {
        self.turn(Condition::Alive);
    }

    /// Nothing of it is ever answered again.
    pub fn kill(&self) {
        self.turn(Condition::Dead);
    }

    async fn until(&self, wanted: Condition) {
        loop {
            // Before the look, so that a turn in between is not missed.
            let turned = self.turned.notified();
            if *lock(&self.condition) == wanted {
                return;
            }
            turned.await;
        }
    }

    fn turn(&self, to: Condition) {
        let mut condition = lock(&self.condition);
        if *condition != Condition::Dead {
            *condition = to;
            self.turned.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_go_on_in_the_order_in_which_they_came() {
        let (gate, passed) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
        gate.freeze();
        let wait = |number| {
            let (gate, passed) = (gate.clone(), passed.clone());
            tokio::spawn(async move {
                gate.pass().await;
                lock(&passed).push(number);
            })
        };
        let waiting: Vec<_> = (0..50).map(wait).collect();
        tokio::task::yield_now().await;
        assert!(lock(&passed).is_empty());
        gate.thaw();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*lock(&passed), (0..50).collect::<Vec<_>>());
    }
}
