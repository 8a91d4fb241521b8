//! What stands between a process and the world: it is alive, frozen, or dead.

use tokio::sync::watch;

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Alive,
    Frozen,
    Dead,
}

/// What every call of a process goes through, on its way out and on its way back.
#[derive(Debug)]
pub struct Gate(watch::Sender<Condition>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(Condition::Alive))
    }
}

impl Gate {
    /// Until the process is alive: at once, when it is thawed, or never.
    pub async fn pass(&self) {
        if *self.0.borrow() == Condition::Alive {
            return;
        }
        let mut condition = self.0.subscribe();
        if condition
            .wait_for(|condition| *condition == Condition::Alive)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Until it is dead.
    pub async fn dead(&self) {
        let mut condition = self.0.subscribe();
        // The sender is ours: it does not go.
        let _ = condition
            .wait_for(|condition| *condition == Condition::Dead)
            .await;
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

    /// Whether its calls go through.
    pub fn is_alive(&self) -> bool {
        *self.0.borrow() == Condition::Alive
    }

    fn turn(&self, to: Condition) {
        self.0.send_if_modified(|condition| {
            let turns = *condition != Condition::Dead && *condition != to;
            if turns {
                *condition = to;
            }
            turns
        });
    }
}
