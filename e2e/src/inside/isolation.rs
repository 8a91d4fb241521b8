//! The mounts that keep the cluster's writes away from the host.

use std::path::Path;

use crate::error::Result;
use crate::files;
use crate::paths::ClusterDir;
use crate::process::Program;

/// What the kubelet wants of the kernel, and would otherwise set for the whole machine.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts, in this mount namespace only: the cluster's folder at [`ClusterDir::INSIDE`], an empty `/run`, a `/var` whose
/// changes are lost with the namespace, and files of our own over the kernel's tunables.
pub(super) fn mount_all(host_dir: &ClusterDir) -> Result<()> {
    let inside = Path::new(ClusterDir::INSIDE);
    // Aside first, since an empty `/run` hides a folder below it.
    let aside = Path::new("/mnt");
    mount(&["--bind"], host_dir.root(), aside)?;
    mount(&["-t", "tmpfs"], Path::new("tmpfs"), Path::new("/run"))?;
    files::make_dir(inside)?;
    mount(&["--move"], aside, inside)?;

    let scratch = Path::new("/run/scratch");
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    files::make_dir(&upper)?;
    files::make_dir(&work)?;
    let layers = format!(
        "lowerdir=/var,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        &["-t", "overlay", "-o", &layers],
        Path::new("overlay"),
        Path::new("/var"),
    )?;

    for (name, value) in TUNABLES {
        let tunable = Path::new("/proc/sys").join(name);
        if tunable.exists() {
            let ours = scratch.join(name);
            files::write(&ours, format!("{value}\n"))?;
            mount(&["--bind"], &ours, &tunable)?;
        }
    }
    Ok(())
}

fn mount(options: &[&str], what: &Path, at: &Path) -> Result<()> {
    Program::new("mount")
        .args(options)
        .arg(what)
        .arg(at)
        .run()
        .map(drop)
}
