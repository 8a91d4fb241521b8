//! Container images, made without a container engine: root file systems by mmdebstrap, archives by [`oci`].
//!
//! Everything lies in the cache under a name that holds the digest of what it was made from, and is made once.

mod debian;
mod layer;
mod oci;
mod seed;

pub use seed::{Seed, import, import_all};

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use self::oci::{Config, Image};
use crate::error::{Error, Result};
use crate::files;
use crate::paths::Cache;
use crate::progress::Progress;
use crate::tools::Toolbox;

/// The container that holds a pod's namespaces.
pub const PAUSE: &str = "registry.local/pause:1";
/// Cluster DNS.
pub const COREDNS: &str = "registry.local/coredns:1";
/// PostgreSQL 15 from Debian packages; user and group `postgres` are 999.
pub const POSTGRES: &str = "tray.example/postgres:15";
/// A small web server (busybox httpd) on port 8080 over `/data`; runs as any user.
pub const WEB: &str = "tray.example/web:1";
/// The Gateway of the tests of webhooks.
pub const TRAEFIK: &str = "tray.example/traefik:3";
/// The operator and its movers.
pub const OPERATOR: &str = "tray.example/operator:dev";

/// The images that every node starts with, as archives in the cache.
pub fn ensure(cache: &Cache, tools: &Toolbox, progress: Progress) -> Result<Vec<PathBuf>> {
    let busybox = debian::BUSYBOX.ensure(cache, progress)?;
    let postgres = debian::POSTGRES.ensure(cache, progress)?;
    let coredns = layer::program(cache, "coredns", &tools.path("coredns"))?;
    let path = "PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    [
        Image {
            reference: PAUSE,
            layers: vec![busybox.clone()],
            config: Config {
                user: "65535:65535",
                command: &["/bin/sleep", "infinity"],
                environment: &[],
            },
        },
        Image {
            reference: COREDNS,
            layers: vec![coredns],
            config: Config {
                user: "65532:65532",
                command: &["/coredns"],
                environment: &[],
            },
        },
        Image {
            reference: POSTGRES,
            layers: vec![postgres],
            config: Config {
                user: "999:999",
                command: &["/usr/lib/postgresql/15/bin/postgres"],
                environment: &[path, "LANG=C.UTF-8"],
            },
        },
        Image {
            reference: WEB,
            layers: vec![busybox],
            config: Config {
                user: "65534:65534",
                command: &["/bin/httpd", "-f", "-p", "8080", "-h", "/data"],
                environment: &["PATH=/bin"],
            },
        },
    ]
    .iter()
    .map(|image| image.ensure(cache))
    .collect()
}

/// The Gateway's image around `program`, as an archive in the cache.
pub fn traefik(cache: &Cache, program: &Path) -> Result<PathBuf> {
    Image {
        reference: TRAEFIK,
        layers: vec![layer::program(cache, "traefik", program)?],
        config: Config {
            user: "65532:65532",
            command: &["/traefik"],
            environment: &[],
        },
    }
    .ensure(cache)
}

/// The root file system of [`POSTGRES`], as a tar file in the cache.
pub fn postgres_root(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    debian::POSTGRES.ensure(cache, progress)
}

/// The operator's image around `binary`, as an archive in the cache. A changed binary makes another archive.
pub fn operator(cache: &Cache, binary: &Path, progress: Progress) -> Result<PathBuf> {
    let base = debian::OPERATOR_BASE.ensure(cache, progress)?;
    let program = layer::program(cache, "usr/local/bin/tray-operator", binary)?;
    Image {
        reference: OPERATOR,
        layers: vec![base, program],
        config: Config {
            user: "65532:65532",
            command: &["/usr/local/bin/tray-operator"],
            environment: &[],
        },
    }
    .ensure(cache)
}

/// A file in the cache's image folder that is made once: `make` writes to a path beside it, which is then renamed.
fn made_once(cache: &Cache, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = cache.images().join(name);
    if !path.exists() {
        files::make_dir(&cache.images())?;
        let unfinished = cache.images().join(format!("{name}.unfinished"));
        files::remove(&unfinished)?;
        make(&unfinished)?;
        files::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// The first 16 hex digits of the SHA-256 of `parts`, each with its length so that no two lists look alike.
fn short_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// SHA-256 in hex and length of a file.
fn file_digest(path: &Path) -> Result<(String, u64)> {
    let mut file = std::fs::File::open(path).map_err(Error::file("open", path))?;
    let mut hash = Sha256::new();
    let (mut length, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if read == 0 {
            return Ok((hex::encode(hash.finalize()), length));
        }
        hash.update(&buffer[..read]);
        length += read as u64;
    }
}
