//! What a cluster could leave behind on the machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tray_e2e::{Program, cgroups, host};

/// Everything of the machine's that a cluster could add to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Processes in a PID namespace below ours, and those of the harness.
    pub processes: BTreeSet<String>,
    pub mounts: BTreeSet<String>,
    pub interfaces: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    pub cgroups: BTreeSet<PathBuf>,
}

impl Traces {
    /// As the machine is now.
    pub(crate) fn now() -> Self {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Self {
            processes: processes(),
            mounts: lines(&fs::read_to_string("/proc/self/mounts").unwrap()),
            interfaces: host::interfaces().unwrap().into_iter().collect(),
            tables: lines(&Program::new("nft").args(["list", "tables"]).run().unwrap()),
            cgroups: cgroups::existing().unwrap().into_iter().collect(),
        }
    }

    /// What is here and was not there `before`. The machine's own things may come to an end meanwhile.
    #[must_use]
    pub(crate) fn added_since(self, before: &Self) -> Self {
        fn new<T: Ord + Clone>(now: &BTreeSet<T>, before: &BTreeSet<T>) -> BTreeSet<T> {
            now.difference(before).cloned().collect()
        }
        Self {
            processes: new(&self.processes, &before.processes),
            mounts: new(&self.mounts, &before.mounts),
            interfaces: new(&self.interfaces, &before.interfaces),
            tables: new(&self.tables, &before.tables),
            cgroups: new(&self.cgroups, &before.cgroups),
        }
    }

    /// Nothing at all.
    pub(crate) fn none() -> Self {
        Self {
            processes: BTreeSet::new(),
            mounts: BTreeSet::new(),
            interfaces: BTreeSet::new(),
            tables: BTreeSet::new(),
            cgroups: BTreeSet::new(),
        }
    }
}

/// The processes in `group` and all groups below it.
pub(crate) fn members(group: &Path) -> Vec<String> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let children = fs::read_dir(group).into_iter().flatten().flatten();
    own.lines()
        .map(str::to_owned)
        .chain(
            children
                .filter(|entry| entry.path().is_dir())
                .flat_map(|entry| members(&entry.path())),
        )
        .collect()
}

fn processes() -> BTreeSet<String> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let ours = namespace("self");
    names(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            // A process that has just ended has neither a namespace nor a command line.
            let elsewhere = namespace(&pid).is_some_and(|other| Some(other) != ours);
            let harness = command.contains("tray-e2e internal");
            (elsewhere || harness).then(|| format!("{pid} {command}"))
        })
        .collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
