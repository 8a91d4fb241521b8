//! The cluster's programs, built from Go modules into the cache.
//!
//! Each tool has a module of its own under `e2e/tools/` (their dependencies disagree) that pins every version by `go.sum`.
//! A built tool lies in a folder named by its version and the digest of everything that went into it.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::files;
use crate::paths::{Cache, workspace};
use crate::process::Program;
use crate::progress::Progress;

/// One Go module and the programs built from it: the module's own, or those of what it requires.
struct Tool {
    /// The folder under `e2e/tools/`.
    name: &'static str,
    /// The module whose version names the tool's.
    module: &'static str,
    /// Import paths of the main packages.
    packages: &'static [&'static str],
    /// What the programs are called: the packages' last elements, or any name where there is only one.
    programs: &'static [&'static str],
    /// Links the version into the program where the program compares versions.
    version_variables: &'static [&'static str],
    /// Files of the module, by their path in it: they lie beside the programs.
    files: &'static [&'static str],
    /// Files that modules need and do not hold, or hold and cannot be built with.
    patches: &'static [Patch],
}

/// One file of a module, put there from the tool's folder.
struct Patch {
    module: &'static str,
    path: &'static str,
    with: &'static str,
}

const TOOLS: [Tool; 6] = [
    Tool {
        name: "kubernetes",
        module: "k8s.io/kubernetes",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kubelet",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        programs: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubectl",
        ],
        // Without it every program calls itself v0.0.0, and kubelet and API server refuse each other.
        version_variables: &["k8s.io/component-base/version.gitVersion"],
        files: &[],
        patches: &[],
    },
    Tool {
        name: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        packages: &["go.etcd.io/etcd/server/v3"],
        programs: &["etcd"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
    Tool {
        name: "containerd",
        module: "github.com/containerd/containerd/v2",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        programs: &["containerd", "containerd-shim-runc-v2", "ctr"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
    Tool {
        name: "helm",
        module: "helm.sh/helm/v4",
        packages: &["helm.sh/helm/v4/cmd/helm"],
        programs: &["helm"],
        version_variables: &["helm.sh/helm/v4/internal/version.version"],
        files: &[],
        patches: &[],
    },
    Tool {
        name: "coredns",
        module: "github.com/coredns/coredns",
        packages: &["github.com/coredns/coredns"],
        programs: &["coredns"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
    // No part of the cluster: tests ask it who may reach whom.
    Tool {
        name: "cyclonus",
        module: "github.com/mattfenwick/cyclonus",
        packages: &["tray.example/cluster/cyclonus"],
        programs: &["reachability"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
];

/// What tests of webhooks need besides: the kinds of the Gateway API, and a program that is a Gateway.
const GATEWAY: [Tool; 2] = [
    Tool {
        name: "gateway-api",
        module: "sigs.k8s.io/gateway-api",
        packages: &[],
        programs: &[],
        version_variables: &[],
        files: &[
            "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
            "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml",
            "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
            "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
            "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
            "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
            "config/crd/standard/gateway.networking.k8s.io_tlsroutes.yaml",
        ],
        patches: &[],
    },
    Tool {
        name: "traefik",
        module: "github.com/traefik/traefik/v3",
        packages: &["github.com/traefik/traefik/v3/cmd/traefik"],
        programs: &["traefik"],
        version_variables: &[],
        files: &[],
        patches: &[
            // The dashboard is made by another build.
            Patch {
                module: "github.com/traefik/traefik/v3",
                path: "webui/static/index.html",
                with: "instead/index.html",
            },
            // The real one needs the modules of two hundred DNS providers, of which some cannot be had.
            Patch {
                module: "github.com/go-acme/lego/v5",
                path: "providers/dns/zz_gen_dns_providers.go",
                with: "instead/dns_providers.go.txt",
            },
        ],
    },
];

/// What tests of GitOps need besides: Argo CD's sync engine, and the parts of Flux.
const GITOPS: [Tool; 2] = [
    Tool {
        name: "gitops-engine",
        module: "github.com/argoproj/gitops-engine",
        packages: &["github.com/argoproj/gitops-engine/agent"],
        programs: &["gitops-agent"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
    Tool {
        name: "flux",
        module: "github.com/fluxcd/pkg/ssa",
        packages: &["tray.example/cluster/flux"],
        programs: &["flux"],
        version_variables: &[],
        files: &[],
        patches: &[],
    },
];

/// The built programs.
#[derive(Debug, Clone)]
pub struct Toolbox {
    folders: Vec<(Vec<&'static str>, PathBuf)>,
}

impl Toolbox {
    /// Finds all tools in the cache and builds the missing ones (about eight minutes for all of them on two cores).
    pub fn ensure(cache: &Cache, progress: Progress) -> Result<Self> {
        Self::of(&TOOLS, cache, progress)
    }

    /// The same for what tests of webhooks need besides (about five minutes on two cores).
    pub fn gateway(cache: &Cache, progress: Progress) -> Result<Self> {
        Self::of(&GATEWAY, cache, progress)
    }

    /// The same for what tests of GitOps need besides (about three minutes on two cores).
    pub fn gitops(cache: &Cache, progress: Progress) -> Result<Self> {
        Self::of(&GITOPS, cache, progress)
    }

    fn of(tools: &[Tool], cache: &Cache, progress: Progress) -> Result<Self> {
        let mut folders = Vec::new();
        for tool in tools {
            let source = workspace().join("e2e/tools").join(tool.name);
            let version = tool.version(&source)?;
            let folder = cache.tools().join(format!(
                "{}-{version}-{}",
                tool.name,
                &tool.digest(&source, &version)?[..12]
            ));
            if !folder.exists() {
                progress.step(format!("building {} {version} from source (once)", tool.name));
                tool.build(&source, &version, &folder)?;
            }
            folders.push((tool.made().collect(), folder));
        }
        Ok(Self { folders })
    }

    /// Every file of the tools, programs and others.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let folders = self.folders.iter();
        folders.flat_map(|(made, folder)| made.iter().map(|name| folder.join(name)))
    }

    /// The path of a program by its name.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folders
            .iter()
            .find(|(made, _)| made.contains(&program))
            .map_or_else(|| PathBuf::from(program), |(_, folder)| folder.join(program))
    }

    /// The folder that holds a program.
    pub fn folder_of(&self, program: &str) -> PathBuf {
        let path = self.path(program);
        path.parent().unwrap_or(&path).to_owned()
    }

    /// A program by its name, ready for arguments.
    pub fn program(&self, program: &str) -> Program {
        Program::new(self.path(program))
    }
}

impl Tool {
    /// The version of the tool's own module, from its go.mod.
    fn version(&self, source: &Path) -> Result<String> {
        let path = source.join("go.mod");
        let text = files::read(&path)?;
        required_version(&text, self.module)
            .map(str::to_owned)
            .ok_or_else(|| Error::Unexpected {
                what: path.display().to_string(),
                detail: format!("it does not require {}", self.module),
            })
    }

    fn digest(&self, source: &Path, version: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum"] {
            hash.update(files::read(&source.join(file))?);
        }
        let own = source.join("main.go");
        if own.exists() {
            hash.update(files::read(&own)?);
        }
        hash.update(self.linker_flags(version));
        for patch in self.patches {
            hash.update(patch.path);
            hash.update(files::read(&source.join(patch.with))?);
        }
        self.files.iter().for_each(|file| hash.update(file));
        Ok(hex::encode(hash.finalize()))
    }

    /// Names of what lies in the built tool's folder.
    fn made(&self) -> impl Iterator<Item = &'static str> {
        let files = self.files.iter();
        let names = files.map(|file| file.rsplit('/').next().unwrap_or(file));
        self.programs.iter().copied().chain(names)
    }

    fn linker_flags(&self, version: &str) -> String {
        self.version_variables
            .iter()
            .map(|variable| format!(" -X {variable}={version}"))
            .fold("-s -w".to_owned(), |flags, variable| flags + &variable)
    }

    /// Builds into a folder beside `folder` and renames it, so that a half-built tool is never found.
    fn build(&self, source: &Path, version: &str, folder: &Path) -> Result<()> {
        require_go()?;
        let unfinished = folder.with_extension("unfinished");
        files::remove(&unfinished)?;
        files::make_dir(&unfinished)?;
        for file in self.files {
            let from = self.fetch(source, self.module)?.join(file);
            let name = Path::new(file).file_name().unwrap_or_default();
            std::fs::copy(&from, unfinished.join(name)).map_err(Error::file("copy", &from))?;
        }
        if self.patches.is_empty() {
            self.compile(source, version, &unfinished)?;
        } else {
            let patched = folder.with_extension("patched");
            files::remove(&patched)?;
            self.patch(source, &patched)?;
            self.compile(&patched, version, &unfinished)?;
            files::remove(&patched)?;
        }
        files::rename(&unfinished, folder)
    }

    fn compile(&self, source: &Path, version: &str, folder: &Path) -> Result<()> {
        let output = match self.programs {
            [] => return Ok(()),
            [only] => folder.join(only),
            // A path that ends in a slash is a folder: each program gets the name of its package.
            _ => folder.join(""),
        };
        Program::new("go")
            .args([
                "build",
                "-mod=readonly",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
            ])
            .arg(self.linker_flags(version))
            .arg("-o")
            .arg(output)
            .args(self.packages)
            .directory(source)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .run()
            .map(drop)
            .map_err(|error| network_hint(error, self.name))
    }

    /// Makes `folder` the source with the patched modules in it. Go checks a module before it is copied, and refuses to build
    /// from a changed one in its own cache.
    fn patch(&self, source: &Path, folder: &Path) -> Result<()> {
        let copy = |from: &Path, to: &Path| {
            Program::new("cp")
                .args(["--recursive", "--no-preserve=mode", "--no-target-directory"])
                .arg(from)
                .arg(to)
                .run()
                .map(drop)
        };
        copy(source, folder)?;
        for (number, patch) in self.patches.iter().enumerate() {
            let name = format!("module-{number}");
            let module = folder.join(&name);
            copy(&self.fetch(source, patch.module)?, &module)?;
            let path = module.join(patch.path);
            if let Some(parent) = path.parent() {
                files::make_dir(parent)?;
            }
            files::write(&path, files::read(&source.join(patch.with))?)?;
            Program::new("go")
                .args(["mod", "edit"])
                .arg(format!("-replace={}=./{name}", patch.module))
                .directory(folder)
                .run()?;
        }
        Ok(())
    }

    /// The folder of a module of the tool in Go's cache, checked by `go.sum`.
    fn fetch(&self, source: &Path, module: &str) -> Result<PathBuf> {
        let go = || Program::new("go").directory(source).env("GOFLAGS", "");
        go().args(["mod", "download", module])
            .run()
            .map_err(|error| network_hint(error, self.name))?;
        let folder = go()
            .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module])
            .run()?;
        Ok(PathBuf::from(folder.trim()))
    }
}

/// The version that a go.mod requires of `module`.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

fn require_go() -> Result<()> {
    match Program::new("go").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Error::refused(
            "the program `go` is missing, and the cluster's programs are built from source",
            "Install Go 1.26 or later (https://go.dev/dl) and have `go` in PATH.",
        )),
    }
}

/// A module that cannot be fetched is the one failure that a person can repair.
fn network_hint(error: Error, tool: &str) -> Error {
    let text = error.to_string();
    if ["dial tcp", "no such host", "i/o timeout", "connection refused"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        return Error::refused(
            format!("the modules of {tool} cannot be downloaded\n{text}"),
            "Connect to the network, or set GOPROXY to a module proxy that can be reached; built tools stay in the cache.",
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_pins_its_version_and_names_its_programs() {
        for tool in TOOLS.iter().chain(&GATEWAY).chain(&GITOPS) {
            let version = tool
                .version(&workspace().join("e2e/tools").join(tool.name))
                .unwrap();
            assert!(version.starts_with('v'), "{}: {version}", tool.name);
            assert_eq!(tool.packages.len(), tool.programs.len(), "{}", tool.name);
        }
    }

    #[test]
    fn the_version_is_found_in_a_block_and_alone() {
        assert_eq!(
            required_version("require a.b/c v1.2.3\n", "a.b/c"),
            Some("v1.2.3")
        );
        assert_eq!(
            required_version("require (\n\ta.b/c v1.2.3 // indirect\n)\n", "a.b/c"),
            Some("v1.2.3")
        );
        assert_eq!(required_version("tool a.b/c/cmd\n", "a.b/c"), None);
    }
}
