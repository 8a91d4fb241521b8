//! Root file systems from Debian packages, by mmdebstrap.

use std::path::PathBuf;

use super::{made_once, short_digest};
use crate::error::Result;
use crate::paths::Cache;
use crate::process::Program;
use crate::progress::Progress;

/// The Debian release: the one that has PostgreSQL 15.
const SUITE: &str = "bookworm";

/// What a root file system is made of.
pub(super) struct Recipe {
    name: &'static str,
    /// mmdebstrap's variant: what it starts from.
    variant: &'static str,
    packages: &'static str,
    /// mmdebstrap's hooks: at which stage, and a shell line, whose `$1` is the root file system. The variant `extract` has
    /// only the stage of that name, once everything is unpacked; apt is run once more after it and needs its `/var`.
    hooks: &'static [(&'static str, &'static str)],
}

/// What a dynamically linked program needs, the authorities it trusts and the time zones. Packages are only unpacked: the
/// file system has no shell and no package manager.
pub(super) const OPERATOR_BASE: Recipe = Recipe {
    name: "operator-base",
    variant: "extract",
    packages: "libc6,libgcc-s1,ca-certificates,tzdata",
    hooks: &[(
        "extract",
        r#"set -e; cd "$1"
        mkdir -p etc/ssl/certs tmp
        cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt
        echo 'nonroot:x:65532:65532::/:/usr/sbin/nologin' > etc/passwd
        echo 'nonroot:x:65532:' > etc/group
        find usr/share -mindepth 1 -maxdepth 1 ! -name zoneinfo -exec rm -rf {} +
        rm -rf usr/bin usr/sbin bin sbin usr/lib/*/gconv usr/lib/*/perl*"#,
    )],
};

/// busybox under all its names. Dynamically linked: the static one crashes when it looks a name up.
pub(super) const BUSYBOX: Recipe = Recipe {
    name: "busybox",
    variant: "extract",
    packages: "busybox",
    hooks: &[(
        "extract",
        r#"set -e; cd "$1"
        mkdir -p tmp data
        chmod 1777 tmp
        echo 'nobody:x:65534:65534::/:/bin/sh' > etc/passwd
        echo 'nogroup:x:65534:' > etc/group
        chroot . /bin/busybox --list | grep -vx busybox | while read -r name; do ln -s busybox "bin/$name"; done
        rm -rf usr/share usr/lib/*/gconv"#,
    )],
};

/// PostgreSQL 15 with its client programs. The user exists before the package would create it, with the numbers that the
/// well-known image has, so that manifests fit both.
pub(super) const POSTGRES: Recipe = Recipe {
    name: "postgres",
    variant: "minbase",
    packages: "postgresql-15,postgresql-client-15",
    hooks: &[
        // Before the packages are installed.
        (
            "essential",
            r#"set -e
        echo 'postgres:x:999:' >> "$1/etc/group"
        echo 'postgres:x:999:999::/var/lib/postgresql:/bin/bash' >> "$1/etc/passwd""#,
        ),
        (
            "customize",
            r#"rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15 "$1"/var/log/postgresql/*"#,
        ),
    ],
};

impl Recipe {
    /// The root file system's tar file in the cache.
    pub(super) fn ensure(&self, cache: &Cache, progress: Progress) -> Result<PathBuf> {
        let mut arguments = vec![
            format!("--variant={}", self.variant),
            format!("--include={}", self.packages),
            "--dpkgopt=path-exclude=/usr/share/doc/*".to_owned(),
            "--dpkgopt=path-exclude=/usr/share/man/*".to_owned(),
            "--dpkgopt=path-exclude=/usr/share/locale/*".to_owned(),
        ];
        let hooks = self
            .hooks
            .iter()
            .map(|(stage, line)| format!("--{stage}-hook={line}"));
        arguments.extend(hooks.chain([SUITE.to_owned()]));
        let key = short_digest(arguments.iter().map(String::as_bytes));
        made_once(cache, &format!("{}-{key}.rootfs.tar", self.name), |path| {
            progress.step(format!(
                "making the root file system {} from Debian packages (once)",
                self.name
            ));
            Program::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--format=tar"])
                .args(&arguments)
                .arg(path)
                .run()
                .map(drop)
        })
    }
}
