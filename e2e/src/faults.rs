//! Faults of the AWS stand-in on demand: the rules of `e2e/aws/standin/faults.py`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::Result;
use crate::files;
use crate::paths::ClusterDir;
use crate::wait;

/// The rules of one cluster's stand-in.
#[derive(Debug, Clone)]
pub struct Faults {
    folder: PathBuf,
}

/// A rule that is in force until this value goes.
pub struct Fault {
    rule: PathBuf,
}

impl Faults {
    /// Of the cluster in `dir`.
    pub fn of(dir: &ClusterDir) -> Self {
        Self {
            folder: dir.aws().join("faults"),
        }
    }

    /// Puts a rule in force. Each needs a name of its own: the stand-in counts by it.
    pub fn set(&self, name: &str, rule: Value) -> Result<Fault> {
        files::make_dir(&self.folder)?;
        let path = self.folder.join(format!("{name}.json"));
        files::write(&path, rule.to_string())?;
        Ok(Fault { rule: path })
    }

    /// Takes a service of a region away, as `eu-central-1/s3`.
    pub fn take_away(&self, name: &str, scope: &str) -> Result<Fault> {
        let answer = json!({"status": 503, "code": "ServiceUnavailable"});
        self.set(name, json!({"scope": scope, "do": answer}))
    }
}

impl Fault {
    /// Waits until a request has met it.
    pub fn await_taken(&self) -> Result<()> {
        let taken = self.rule.with_extension("taken");
        wait::until(
            &format!("no request met the fault {}", self.rule.display()),
            Duration::from_secs(120),
            &self.rule,
            || Ok(taken.exists().then_some(())),
        )
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // One that stays would fail the next request, which says so.
        let _ = files::remove(&self.rule);
    }
}
