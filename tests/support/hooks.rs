//! Hooks without pods: what is run where is written down, and a command goes on until a test lets it end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tray_ports::{HookError, HookRunner, HookTarget};

/// Runs nothing.
#[derive(Default)]
pub(crate) struct MemoryHooks {
    begun: Mutex<Vec<String>>,
    held: Mutex<BTreeSet<String>>,
    failing: Mutex<BTreeSet<String>>,
    without_shell: AtomicBool,
    broken: Mutex<BTreeMap<String, String>>,
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

    /// The way to the pod fails for commands that begin with this word, and who fails says that.
    pub(crate) fn break_off(&self, word: &str, said: &str) {
        self.broken
            .lock()
            .unwrap()
            .insert(word.to_owned(), said.to_owned());
    }

    /// They run again.
    pub(crate) fn mend(&self, word: &str) {
        self.broken.lock().unwrap().remove(word);
    }

    /// In no container there is a shell: no hook can be ended.
    pub(crate) fn without_shell(&self, without: bool) {
        self.without_shell.store(without, Ordering::SeqCst);
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
        if self.without_shell.load(Ordering::SeqCst) && (word.is_empty() || !target.is_free) {
            return Err(HookError::NotFree {
                pod: target.pod.clone(),
                container: target.container.clone(),
                why: "may run on, and there is no shell to end it by",
            });
        }
        if let Some(said) = self.broken.lock().unwrap().get(word) {
            return Err(HookError::Exec {
                pod: target.pod.clone(),
                source: said.clone().into(),
            });
        }
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
