//! Layers that hold one program.

use std::fs::File;
use std::path::{Path, PathBuf};

use tar::{Builder, Header};

use super::{file_digest, made_once, short_digest};
use crate::error::{Error, Result};
use crate::paths::Cache;

/// The layer with `program` at `path`, in the cache, as a tar file. It belongs to root and has no date, so that the same
/// program is the same layer.
pub(super) fn program(cache: &Cache, path: &str, program: &Path) -> Result<PathBuf> {
    let (digest, length) = file_digest(program)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let key = short_digest([path.as_bytes(), digest.as_bytes()]);
    made_once(cache, &format!("{name}-{key}.layer.tar"), |layer| {
        let failed = |source| Error::File {
            action: "write",
            path: layer.to_owned(),
            source,
        };
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(length);
        let content = File::open(program).map_err(Error::file("open", program))?;
        let mut archive = Builder::new(File::create(layer).map_err(failed)?);
        archive.append_data(&mut header, path, content).map_err(failed)?;
        archive.finish().map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_another_layer() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let source = folder.path().join("source");
        let layer = |content: &str| {
            std::fs::write(&source, content).unwrap();
            program(&cache, "bin/x", &source).unwrap()
        };
        let first = layer("one");
        assert_eq!(layer("one"), first);
        assert_ne!(layer("two"), first);
    }
}
