//! Debian packages that the harness needs, installed where they are missing.

use std::path::Path;

use crate::error::{Error, Result};
use crate::process::Program;
use crate::progress::Progress;

/// What shows that a package is there.
enum Proof {
    File(&'static str),
    /// A module of the Python in PATH, which need not be the package's.
    PythonModule(&'static str),
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::File(path) => Path::new(path).exists(),
            Self::PythonModule(name) => Program::new("python3")
                .args(["-c", &format!("import {name}")])
                .output()
                .is_ok_and(|output| output.status.success()),
        }
    }
}

/// A package, what proves that it is there, and what it is for.
struct Package {
    name: &'static str,
    proof: Proof,
    purpose: &'static str,
}

const PACKAGES: [Package; 6] = [
    Package {
        name: "iproute2",
        proof: Proof::File("/usr/sbin/ip"),
        purpose: "links and addresses",
    },
    Package {
        name: "nftables",
        proof: Proof::File("/usr/sbin/nft"),
        purpose: "kube-proxy",
    },
    Package {
        name: "runc",
        proof: Proof::File("/usr/sbin/runc"),
        purpose: "containers",
    },
    Package {
        name: "containernetworking-plugins",
        proof: Proof::File("/usr/lib/cni/bridge"),
        purpose: "the pods' network",
    },
    Package {
        name: "mmdebstrap",
        proof: Proof::File("/usr/bin/mmdebstrap"),
        purpose: "the images' root file systems",
    },
    Package {
        name: "python3-venv",
        proof: Proof::PythonModule("ensurepip"),
        purpose: "the AWS stand-in",
    },
];

/// Installs what is missing with `apt-get` and says so.
pub fn ensure(progress: Progress) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !package.proof.holds()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Error::refused(
            format!(
                "the programs of these Debian packages are missing: {}",
                names.join(", ")
            ),
            "Install them with this system's own package manager; they are looked for at Debian's paths.",
        ));
    }
    for package in &missing {
        progress.step(format!(
            "installing the Debian package {} (for {})",
            package.name, package.purpose
        ));
    }
    Program::new("apt-get").args(["update", "--quiet"]).run()?;
    Program::new("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(&names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
        .map(drop)
}
