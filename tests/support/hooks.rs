//! Hooks without pods: what is run where is written down, and a command goes on until a test lets it end.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use tokio::{sync::Notify, time::timeout};
use tray_ports::{HookError, HookRunner, HookTarget};

/// Runs nothing.
#[derive(Default)]
pub(crate) struct MemoryHooks {
    begun: Mutex<Vec<String>>,
    held: Mutex<BTreeSet<String>>,
    failing: Mutex<BTreeSet<String>>,
    released: Notify,
}

impl MemoryHooks {
    /// Commands that begin with this word go on until they are let go.
    pub(crate) fn hold(&self, word: &str) {
        self.held.lock().unwrap().insert(word.to_owned());
    }

    /// They end.
    pub(crate) fn let_go(&self, word: &str) {
        self.held.lock().unwrap().remove(word);
        self.released.notify_waiters();
    }

    /// Commands that begin with this word end with code 3.
    pub(crate) fn fail(&self, word: &str) {
        self.failing.lock().unwrap().insert(word.to_owned());
    }

    /// What has begun so far, as `pod word`.
    pub(crate) fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    async fn until_released(&self, word: &str) {
        loop {
            let released = self.released.notified();
            if !self.held.lock().unwrap().contains(word) {
                return;
            }
            released.await;
        }
    }
}

#[async_trait::async_trait]
impl HookRunner for MemoryHooks {
    async fn run(&self, target: &HookTarget, command: &[String], limit: Duration) -> Result<(), HookError> {
        let word = command.first().map_or("", String::as_str);
        self.begun.lock().unwrap().push(format!("{} {word}", target.pod));
        match timeout(limit, self.until_released(word)).await {
            Ok(()) if self.failing.lock().unwrap().contains(word) => Err(HookError::Failed {
                pod: target.pod.clone(),
                container: target.container.clone(),
                program: word.to_owned(),
                end: "exit code 3".to_owned(),
            }),
            Ok(()) => Ok(()),
            Err(_) => Err(HookError::TimedOut {
                pod: target.pod.clone(),
                seconds: limit.as_secs(),
            }),
        }
    }
}
