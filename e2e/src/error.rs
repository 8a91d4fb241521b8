//! The one error of the harness: what failed, and what a person can do about it.

use std::path::{Path, PathBuf};

/// Why the harness stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine, or what runs on it, is in the way. Nothing was changed.
    #[error("cannot run the local cluster: {what}\n  {remedy}")]
    Refused {
        /// What is in the way, by name.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A program could not be started.
    #[error("failed to start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status})\n{output}")]
    Program {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to standard error, or to standard output where that was empty.
        output: String,
    },
    /// A file operation failed.
    #[error("failed to {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A condition did not come true in time.
    #[error("{what} within {seconds} s; see {}", look_at.display())]
    TimedOut {
        /// What did not happen ("node n1 did not become Ready").
        what: String,
        /// How long it was awaited.
        seconds: u64,
        /// The log that says more.
        look_at: PathBuf,
    },
    /// The processes inside the cluster's namespaces gave up.
    #[error("the cluster did not start: {0}")]
    Supervisor(String),
    /// A command needs a running cluster.
    #[error("no cluster is up at {}: start it with `make cluster-up`", .0.display())]
    NotUp(PathBuf),
    /// A certificate could not be made.
    #[error("failed to make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What a program answered is not what was expected of it.
    #[error("failed to understand {what}: {detail}")]
    Unexpected {
        /// Whose answer.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Short form for the whole crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Shapes an I/O error: `.map_err(Error::file("read", path))`.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Shapes a parse error: `.map_err(Error::unexpected("the answer of ip"))`.
    pub fn unexpected<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |detail| Self::Unexpected {
            what: what.into(),
            detail: detail.to_string(),
        }
    }

    /// A refusal with its remedy.
    pub fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
