//! Debian packages that the harness needs, installed where they are missing.

use std::path::Path;

use crate::error::{Error, Result};
use crate::process::Program;
use crate::progress::Progress;

/// A package, a file that proves it is there, and what it is for.
struct Package {
    name: &'static str,
    proof: &'static str,
    purpose: &'static str,
}

const PACKAGES: [Package; 5] = [
    Package {
        name: "iproute2",
        proof: "/usr/sbin/ip",
        purpose: "links and addresses",
    },
    Package {
        name: "nftables",
        proof: "/usr/sbin/nft",
        purpose: "kube-proxy",
    },
    Package {
        name: "runc",
        proof: "/usr/sbin/runc",
        purpose: "containers",
    },
    Package {
        name: "containernetworking-plugins",
        proof: "/usr/lib/cni/bridge",
        purpose: "the pods' network",
    },
    Package {
        name: "mmdebstrap",
        proof: "/usr/bin/mmdebstrap",
        purpose: "the images' root file systems",
    },
];

/// Installs what is missing with `apt-get` and says so.
pub fn ensure(progress: Progress) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| !Path::new(package.proof).exists())
        .collect();
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
