//! A local git repository with the manifests of `examples/`.

use std::fs;
use std::path::Path;

use tray_e2e::paths::workspace;
use tray_e2e::{Cluster, Program, examples};

/// How many objects `examples/` holds.
pub(crate) const OBJECTS: usize = 10;

pub(crate) struct Repo(tempfile::TempDir);

impl Repo {
    /// The examples in one commit: as they are, but for what they leave to their reader in the Regions.
    pub(crate) fn of_examples(cluster: &Cluster) -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        repo.git(&["init", "--quiet"]);
        fs::create_dir(repo.path().join("orgs")).unwrap();
        for file in ["policies", "gateway"]
            .map(str::to_owned)
            .into_iter()
            .chain(examples::ORGS.map(|org| format!("orgs/{org}")))
        {
            let file = format!("{file}.yaml");
            let example = fs::read_to_string(workspace().join("examples").join(&file)).unwrap();
            repo.write(&file, &example);
        }
        for region in examples::regions(cluster).unwrap() {
            let name = region["metadata"]["name"].as_str().unwrap();
            repo.write(&format!("region-{name}.json"), &region.to_string());
        }
        repo.commit("Examples");
        repo
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).unwrap();
    }

    /// Puts `to` in the place of `from`, which is there once.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(file)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
        self.write(file, &text.replace(from, to));
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path().join(file)).unwrap();
    }

    pub(crate) fn commit(&self, what: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", what]);
    }

    /// Reverts the newest commit.
    pub(crate) fn revert(&self) {
        self.git(&["revert", "--no-edit", "HEAD"]);
    }

    fn git(&self, args: &[&str]) {
        let identity = [
            "-c",
            "user.name=Platform",
            "-c",
            "user.email=platform@tray.example",
        ];
        Program::new("git")
            .args(identity)
            .args(["-c", "commit.gpgsign=false"])
            .args(args)
            .directory(self.path())
            .run()
            .unwrap();
    }
}
