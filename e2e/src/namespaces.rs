//! The namespaces that a cluster lives in, seen from the host.
//!
//! `unshare` makes them and waits; its child is the first process inside (`tray-e2e internal init`). Killing either ends
//! everything inside: the kernel kills all of a PID namespace with its first process, and frees mounts and links with the
//! last one. They are found by that process's command line, so no file has to be trusted to be up to date.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};
use crate::paths::{Cache, ClusterDir};
use crate::process::Program;
use crate::wait;

/// The words by which the first process is found, and after them the cluster's folder.
pub const INIT: [&str; 3] = ["internal", "init", "--dir"];

/// The namespaces of one cluster.
#[derive(Debug, Clone)]
pub struct Namespaces {
    init: Pid,
    directory: PathBuf,
}

impl Namespaces {
    /// Starts the namespaces of `dir`. The child is `unshare`; its pipes lead to the supervisor inside.
    pub fn start(dir: &ClusterDir, cache: &Cache) -> Result<Child> {
        // A session of its own: a Ctrl-C or a closed terminal must not reach a cluster that is to stay.
        Program::new("setsid")
            .args([
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .arg(harness_program()?)
            .args(INIT)
            .arg(dir.root())
            .arg("--cache")
            .arg(cache.root())
            .spawn_piped(&dir.log("supervisor"))
    }

    /// The running namespaces of `dir`, if there are any.
    pub fn find(dir: &ClusterDir) -> Result<Option<Self>> {
        Ok(Self::all()?
            .into_iter()
            .find(|namespaces| namespaces.directory == dir.root()))
    }

    /// All running clusters of this machine.
    pub fn all() -> Result<Vec<Self>> {
        let first = processes()?.into_iter().filter(|process| process.words_at(1));
        Ok(first
            .map(|process| Self {
                init: process.pid,
                directory: process.directory,
            })
            .collect())
    }

    /// The first process inside, by its id on the host.
    pub fn init(&self) -> Pid {
        self.init
    }

    /// The cluster's folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes `program` run inside.
    pub fn enter(&self, program: Program) -> Program {
        program.behind(
            Program::new("nsenter")
                .arg(format!("--target={}", self.init.as_raw_nonzero()))
                .args(["--net", "--mount", "--pid", "--"]),
        )
    }

    /// Kills everything inside and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        match kill_process(self.init, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(Error::unexpected("kill")(error)),
        }
        wait::until(
            "the cluster's processes did not end",
            Duration::from_secs(30),
            Path::new(&format!("/proc/{}", self.init.as_raw_nonzero())),
            || {
                let left = processes()?
                    .into_iter()
                    .any(|process| process.directory == self.directory);
                Ok((!left).then_some(()))
            },
        )
    }
}

/// A process whose command line holds [`INIT`]: the first one inside, or an `unshare` that waits for it.
struct Process {
    pid: Pid,
    position: usize,
    directory: PathBuf,
}

impl Process {
    fn words_at(&self, position: usize) -> bool {
        self.position == position
    }
}

fn processes() -> Result<Vec<Process>> {
    let proc = Path::new("/proc");
    let entries = std::fs::read_dir(proc).map_err(Error::file("list", proc))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // A process that has just ended has no command line; neither has a zombie.
            let (position, directory) = init_words(&std::fs::read(entry.path().join("cmdline")).ok()?)?;
            Some(Process {
                pid,
                position,
                directory,
            })
        })
        .collect())
}

/// Where [`INIT`] begins in a command line, and the folder after it.
fn init_words(command_line: &[u8]) -> Option<(usize, PathBuf)> {
    let words: Vec<&[u8]> = command_line.split(|byte| *byte == 0).collect();
    let position = words
        .windows(INIT.len())
        .position(|window| window.iter().zip(INIT).all(|(a, b)| *a == b.as_bytes()))?;
    Some((
        position,
        PathBuf::from(OsStr::from_bytes(words.get(position + INIT.len())?)),
    ))
}

/// The program `tray-e2e`: this one, or beside the folder of the test that runs.
pub fn harness_program() -> Result<PathBuf> {
    let this = std::env::current_exe().map_err(Error::file("find", Path::new("/proc/self/exe")))?;
    if this.file_stem() == Some(OsStr::new("tray-e2e")) {
        return Ok(this);
    }
    let beside = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("tray-e2e"))
        .find(|path| path.exists());
    beside.ok_or_else(|| Error::Unexpected {
        what: this.display().to_string(),
        detail: "the program tray-e2e is not beside it: build it with `cargo build -p tray-e2e`".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_is_told_from_the_one_that_waits_for_it() {
        let first = b"/x/tray-e2e\0internal\0init\0--dir\0/a b/cluster\0--cache\0/c\0";
        assert_eq!(init_words(first), Some((1, PathBuf::from("/a b/cluster"))));
        let waits = b"unshare\0--net\0/x/tray-e2e\0internal\0init\0--dir\0/a\0";
        assert_eq!(init_words(waits), Some((3, PathBuf::from("/a"))));
        assert_eq!(init_words(b"tray-e2e\0cluster\0up\0"), None);
        assert_eq!(init_words(b""), None);
    }
}
