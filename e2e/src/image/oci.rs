//! Image archives in the OCI image layout (image-spec v1.1), with plain tar layers: they never travel over a network.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

use super::{file_digest, made_once, short_digest};
use crate::error::{Error, Result};
use crate::paths::Cache;

/// What a container of the image runs as, unless its pod says otherwise.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    /// `uid:gid`.
    pub user: &'a str,
    /// The entry point: program and arguments.
    pub command: &'a [&'a str],
    /// `NAME=value` each.
    pub environment: &'a [&'a str],
}

/// An image, from layers that are tar files.
pub(super) struct Image<'a> {
    /// `registry/name:tag`.
    pub reference: &'a str,
    /// Lowest first. Their names in the cache hold their digests.
    pub layers: Vec<PathBuf>,
    /// See [`Config`].
    pub config: Config<'a>,
}

impl Image<'_> {
    /// The image's archive in the cache.
    pub(super) fn ensure(&self, cache: &Cache) -> Result<PathBuf> {
        let layers = self
            .layers
            .iter()
            .map(|layer| layer.as_os_str().as_encoded_bytes());
        let config = self.config().to_string();
        let key = short_digest(
            [self.reference.as_bytes(), config.as_bytes()]
                .into_iter()
                .chain(layers),
        );
        let name = self
            .reference
            .rsplit('/')
            .next()
            .unwrap_or(self.reference)
            .replace(':', "-");
        made_once(cache, &format!("{name}-{key}.oci.tar"), |path| self.write(path))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::File {
            action: "write",
            path: path.to_owned(),
            source,
        };
        let mut archive = Builder::new(File::create(path).map_err(failed)?);
        let mut descriptors = Vec::new();
        for layer in &self.layers {
            let (digest, size) = file_digest(layer)?;
            let mut file = File::open(layer).map_err(Error::file("open", layer))?;
            archive
                .append_file(blob_path(&digest), &mut file)
                .map_err(failed)?;
            descriptors.push(descriptor(
                "application/vnd.oci.image.layer.v1.tar",
                &digest,
                size,
            ));
        }
        let mut config = self.config();
        // The digest of a plain tar layer is that of its content.
        let diff_ids: Vec<&Value> = descriptors
            .iter()
            .map(|descriptor| &descriptor["digest"])
            .collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config =
            append_json(&mut archive, "application/vnd.oci.image.config.v1+json", &config).map_err(failed)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": descriptors,
        });
        let mut manifest = append_json(
            &mut archive,
            "application/vnd.oci.image.manifest.v1+json",
            &manifest,
        )
        .map_err(failed)?;
        // containerd names the image by this; without it the import has no name.
        manifest["annotations"] = json!({"io.containerd.image.name": self.reference});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        append(&mut archive, "index.json", index.to_string().as_bytes()).map_err(failed)?;
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
        archive.finish().map_err(failed)
    }

    fn config(&self) -> Value {
        json!({
            "os": "linux",
            "architecture": architecture(),
            "config": {
                "User": self.config.user,
                "Env": self.config.environment,
                "Entrypoint": self.config.command,
            },
        })
    }
}

/// Go's name of this machine's architecture, which is what images carry.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn append_json(archive: &mut Builder<File>, media_type: &str, value: &Value) -> std::io::Result<Value> {
    let text = value.to_string();
    let digest = hex::encode(Sha256::digest(&text));
    append(archive, &blob_path(&digest), text.as_bytes())?;
    Ok(descriptor(media_type, &digest, text.len() as u64))
}

fn append(archive: &mut Builder<File>, path: &str, data: &[u8]) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, data)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_descriptor_of_the_archive_leads_to_a_blob_of_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("layer.tar");
        std::fs::write(&layer, b"any bytes do").unwrap();
        let image = Image {
            reference: "a.example/b:1",
            layers: vec![layer],
            config: Config {
                user: "1:1",
                command: &["/x"],
                environment: &[],
            },
        };
        let path = image.ensure(&Cache::new(folder.path())).unwrap();

        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(File::open(path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let blob = |descriptor: &Value| -> Vec<u8> {
            let digest = descriptor["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            let content = files[&blob_path(digest)].clone();
            assert_eq!(hex::encode(Sha256::digest(&content)), digest);
            assert_eq!(descriptor["size"].as_u64().unwrap(), content.len() as u64);
            content
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "a.example/b:1"
        );
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(blob(&manifest["layers"][0]), b"any bytes do");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["config"]["User"], "1:1");
    }
}
