//! Long-running programs, started again when they end.

use std::time::Duration;

use crate::error::Result;
use crate::files;
use crate::paths::ClusterDir;
use crate::process::Program;

/// How long a program that ended stays down: long enough not to burn the machine when it cannot start.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// Starts long-running programs. They end with the PID namespace.
pub struct Daemons {
    dir: ClusterDir,
}

impl Daemons {
    /// Logs and process ids go to `dir`.
    pub fn new(dir: &ClusterDir) -> Result<Self> {
        files::make_dir(&dir.root().join("pids"))?;
        files::make_dir(&dir.logs())?;
        Ok(Self { dir: dir.clone() })
    }

    /// Starts `program` under `name` (its log, its pid file), and again whenever it ends.
    pub fn start(&self, name: &str, program: Program) -> Result<()> {
        let (name, log, pid_file) = (name.to_owned(), self.dir.log(name), self.dir.pid_file(name));
        let start = move || -> Result<std::process::Child> {
            let child = program.spawn_logged(&log)?;
            files::write(&pid_file, child.id().to_string())?;
            Ok(child)
        };
        let mut child = start()?;
        std::thread::spawn(move || {
            loop {
                match child.wait() {
                    Ok(status) => eprintln!("{name} ended ({status}); it is started again"),
                    Err(error) => eprintln!("failed to wait for {name}: {error}"),
                }
                child = loop {
                    std::thread::sleep(RESTART_DELAY);
                    match start() {
                        Ok(child) => break child,
                        Err(error) => eprintln!("{error}"),
                    }
                };
            }
        });
        Ok(())
    }
}
