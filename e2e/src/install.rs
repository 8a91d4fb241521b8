//! The operator on the local cluster: built, packed into an image, loaded and installed with Helm.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::aws;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::image;
use crate::namespaces::harness_program;
use crate::packages;
use crate::paths::{Cache, workspace};
use crate::process::Program;
use crate::progress::Progress;

/// The namespace of the operator.
pub const NAMESPACE: &str = "tray-system";
/// The name of its release.
const RELEASE: &str = "tray-operator";

/// Builds the operator and its image; returns the image's archive.
pub fn image(cache: &Cache, progress: Progress) -> Result<PathBuf> {
    packages::ensure(progress)?;
    progress.step("building the operator");
    let binary = build("tray-operator")?;
    progress.step("packing its image");
    image::operator(cache, &binary, progress)
}

/// Builds the operator, loads its image on every node and installs or upgrades the chart.
pub fn install(cluster: &Cluster, progress: Progress) -> Result<()> {
    install_with(cluster, &[], progress)
}

/// The same, with more arguments of Helm: values.
pub fn install_with(cluster: &Cluster, values: &[&str], progress: Progress) -> Result<()> {
    let archive = image(cluster.cache(), progress)?;
    progress.step("loading its image on every node");
    cluster.load_image(&archive)?;
    progress.step("installing the chart");
    // The tag stays the same while the image changes: the digest in the pod template makes the Deployment roll.
    let digest = archive
        .file_stem()
        .unwrap_or(OsStr::new("dev"))
        .to_string_lossy()
        .into_owned();
    let facts = aws::Facts::read(cluster.dir())?;
    cluster
        .helm(["upgrade", "--install", RELEASE])
        .arg(workspace().join("charts/tray-operator"))
        .args([
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout=2m",
        ])
        .arg("--values")
        .arg(workspace().join("e2e/values.yaml"))
        .arg(format!("--set-string=aws.roleArn={}", facts.operator_role_arn))
        .arg(format!("--set-string=aws.stsEndpoint={}", facts.endpoint))
        .arg(format!(
            "--set-file=caBundle={}",
            aws::authority(cluster.dir()).display()
        ))
        .arg(format!("--set-string=podAnnotations.image-archive={digest}"))
        .args(values)
        .run()?;
    progress.step("the operator is installed");
    Ok(())
}

/// Builds a program of the workspace with the profile that this program was built with, and returns its path.
pub fn build(program: &str) -> Result<PathBuf> {
    Program::new("cargo")
        // With the features that tests are built with, those of development dependencies (of examples) too: with others every
        // library is built again, and a test beside this one puts its own build of the program in the same place.
        .args(["build", "--workspace", "--locked", "--examples"])
        .flag("bin", program)
        .directory(&workspace())
        .run()?;
    let binary = harness_program()?.with_file_name(program);
    if binary.exists() {
        return Ok(binary);
    }
    Err(Error::Unexpected {
        what: "cargo build".into(),
        detail: format!(
            "{} is not there: run this program by `cargo run`",
            binary.display()
        ),
    })
}
