//! The first process of the PID namespace: starts the supervisor and buries whatever is orphaned.

use rustix::process::{WaitOptions, wait};

use crate::error::Result;
use crate::paths::{Cache, ClusterDir};
use crate::process::Program;

/// Runs until the supervisor ends; then this process ends, and with it the namespace.
pub fn init(dir: &ClusterDir, cache: &Cache) -> Result<()> {
    let this = std::env::current_exe().map_err(crate::Error::file("find", "/proc/self/exe".as_ref()))?;
    let supervisor = Program::new(this)
        .args(["internal", "supervise", "--dir"])
        .arg(dir.root())
        .arg("--cache")
        .arg(cache.root())
        .spawn_inherited()?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) if pid.as_raw_nonzero().get().unsigned_abs() == supervisor.id() => {
                return Ok(());
            }
            // An orphan: container shims outlive the process that started them.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(crate::Error::unexpected("wait")(error)),
        }
    }
}
