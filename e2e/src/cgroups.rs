//! The cluster's cgroups: all under one root of ours in every hierarchy.
//!
//! Cgroups are the one thing that outlives the namespaces, since the kernel keeps them until somebody removes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::files;
use crate::topology::{CGROUP_ROOT, NODES};
use crate::wait;

/// One mounted cgroup hierarchy.
struct Hierarchy {
    root: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A version 1 hierarchy.
    V1,
    /// A version 1 hierarchy with the cpuset controller: its groups take no process before they are filled.
    V1Cpuset,
    /// The unified hierarchy.
    V2,
}

/// Makes the root cgroup of every node, in every hierarchy.
pub fn create() -> Result<()> {
    let hierarchies = mounted()?;
    // Beside version 1 hierarchies the unified one carries no controllers, and nothing uses it.
    let hybrid = hierarchies.iter().any(|hierarchy| hierarchy.kind != Kind::V2);
    for hierarchy in hierarchies
        .iter()
        .filter(|hierarchy| !(hybrid && hierarchy.kind == Kind::V2))
    {
        let root = hierarchy.root.join(CGROUP_ROOT);
        prepare(&root, hierarchy.kind)?;
        for node in &NODES {
            prepare(&root.join(node.name), hierarchy.kind)?;
        }
    }
    Ok(())
}

/// Removes what an earlier cluster left: empty cgroups. Fails where a process is still in one, and names it.
pub fn remove() -> Result<()> {
    for hierarchy in mounted()? {
        let root = hierarchy.root.join(CGROUP_ROOT);
        // The kernel frees a group some milliseconds after the last process in it is gone.
        wait::until(
            &format!("the cgroup {} was not free of processes", root.display()),
            Duration::from_secs(10),
            &root.join("cgroup.procs"),
            || Ok(remove_tree(&root).then_some(())),
        )?;
    }
    Ok(())
}

/// All cgroups of ours that exist.
pub fn existing() -> Result<Vec<PathBuf>> {
    let roots = mounted()?
        .into_iter()
        .map(|hierarchy| hierarchy.root.join(CGROUP_ROOT));
    Ok(roots.filter(|root| root.exists()).collect())
}

/// Whether `directory` is gone, its children first.
fn remove_tree(directory: &Path) -> bool {
    let children = fs::read_dir(directory).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    // The files of a cgroup cannot be removed; rmdir takes them along.
    fs::remove_dir(directory).is_ok() || !directory.exists()
}

fn prepare(group: &Path, kind: Kind) -> Result<()> {
    files::make_dir(group)?;
    let Some(parent) = group.parent() else {
        return Ok(());
    };
    match kind {
        Kind::V1 => Ok(()),
        Kind::V1Cpuset => {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                files::write(&group.join(file), files::read(&parent.join(file))?)?;
            }
            Ok(())
        }
        Kind::V2 => {
            let controllers = files::read(&parent.join("cgroup.controllers"))?;
            let enable: Vec<String> = controllers
                .split_whitespace()
                .map(|name| format!("+{name}"))
                .collect();
            files::write(&parent.join("cgroup.subtree_control"), enable.join(" "))
        }
    }
}

fn mounted() -> Result<Vec<Hierarchy>> {
    let hierarchies = parse_mounts(&files::read(Path::new("/proc/self/mounts"))?);
    if hierarchies.is_empty() {
        return Err(Error::refused(
            "no cgroup hierarchy is mounted",
            "Mount the kernel's cgroups under /sys/fs/cgroup (every init system does).",
        ));
    }
    Ok(hierarchies)
}

/// The hierarchies in the text of `/proc/self/mounts`.
fn parse_mounts(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (root, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let kind = match kind {
            "cgroup2" => Kind::V2,
            "cgroup" if options.split(',').any(|option| option == "cpuset") => Kind::V1Cpuset,
            "cgroup" => Kind::V1,
            _ => return None,
        };
        Some(Hierarchy {
            root: PathBuf::from(root),
            kind,
        })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let mounts = "/dev/vda / ext4 rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let found: Vec<_> = parse_mounts(mounts)
            .into_iter()
            .map(|hierarchy| (hierarchy.root, hierarchy.kind))
            .collect();
        assert!(
            found
                == [
                    (PathBuf::from("/sys/fs/cgroup/cpu"), Kind::V1),
                    (PathBuf::from("/sys/fs/cgroup/cpuset"), Kind::V1Cpuset),
                    (PathBuf::from("/sys/fs/cgroup/unified"), Kind::V2),
                ]
        );
    }

    #[test]
    fn a_tree_goes_children_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tray");
        fs::create_dir_all(root.join("a/b")).unwrap();
        assert!(remove_tree(&root) && !root.exists());
        assert!(remove_tree(&root), "nothing there is success");
    }
}
