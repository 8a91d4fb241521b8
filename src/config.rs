//! How the operator is started: flags and environment, read here and nowhere else.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

/// Flags of `tray-operator run`. Each can be given as an environment variable instead.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// What to log: a level, or directives such as `tray_operator=debug,kube=warn`.
    #[arg(long, env = "TRAY_LOG", default_value = "info")]
    pub log: String,
    /// Objects of one kind that are reconciled at once.
    #[arg(long, env = "TRAY_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Ports on which pods reach the API server.
    #[arg(
        long,
        env = "TRAY_API_SERVER_PORTS",
        value_delimiter = ',',
        default_value = "443,6443"
    )]
    pub api_server_ports: Vec<u16>,
    /// Groups of support staff that orgs may let in by a SupportAccess; none = nobody is let in.
    #[arg(long, env = "TRAY_SUPPORT_GROUPS", value_delimiter = ',')]
    pub support_groups: Vec<String>,
    /// Image that movers run: this operator's own.
    #[arg(long, env = "TRAY_MOVER_IMAGE")]
    pub mover_image: String,
    /// Pull policy of that image.
    #[arg(long, env = "TRAY_MOVER_IMAGE_PULL_POLICY")]
    pub mover_image_pull_policy: Option<String>,
    /// File of PEM certificates to trust besides the system's; movers get them too.
    #[arg(long, env = "TRAY_CA_BUNDLE")]
    pub ca_bundle: Option<PathBuf>,
    /// File of the token that the operator's own AWS role is assumed with; sessions of movers are assumed with it too.
    #[arg(long, env = "AWS_WEB_IDENTITY_TOKEN_FILE")]
    pub web_identity_token: Option<PathBuf>,
    /// Orgs have webhook hosts: routes of the Gateway API lead to them, and to the responder (`tray-operator respond`).
    #[arg(long, env = "TRAY_WEBHOOKS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub webhooks: bool,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "TRAY_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Who this process is among those that want to lead: its pod's name. No two may have the same.
    #[arg(long, env = "POD_NAME", default_value_t = unique_identity())]
    pub identity: String,
}

fn unique_identity() -> String {
    format!("tray-operator-{}", uuid::Uuid::new_v4())
}

/// Flags of `tray-operator respond`.
#[derive(Clone, Debug, clap::Args)]
pub struct RespondArgs {
    /// What to log: a level, or directives such as `tray_operator=debug`.
    #[arg(long, env = "TRAY_LOG", default_value = "info")]
    pub log: String,
    /// Where every request is answered 403.
    #[arg(long, env = "TRAY_FORBIDDEN", default_value = "0.0.0.0:8403")]
    pub forbidden: SocketAddr,
    /// Where every request is answered 503.
    #[arg(long, env = "TRAY_SUSPENDED", default_value = "0.0.0.0:8503")]
    pub suspended: SocketAddr,
}

/// Flags of `tray-operator mover run`. All else is in the mover's Secret.
#[derive(Clone, Debug, clap::Args)]
pub struct MoverArgs {
    /// What to log: a level, or directives such as `tray_operator=debug`.
    #[arg(long, env = "TRAY_LOG", default_value = "info")]
    pub log: String,
    /// UID of the pod: the name of the part record.
    #[arg(long, env = "POD_UID")]
    pub pod_uid: String,
}

/// Why the flags cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA bundle cannot be read.
    #[error("failed to read the CA bundle {path} (--ca-bundle, TRAY_CA_BUNDLE): {source}")]
    CaBundle {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A group of support would open orgs to the cluster's own parts or to everybody.
    #[error(
        "{group} (--support-groups, TRAY_SUPPORT_GROUPS) is not a group of support staff: name one without spaces that does not begin with system:"
    )]
    SupportGroup {
        /// The group.
        group: String,
    },
    /// The CA bundle holds no certificate.
    #[error("the CA bundle {path} (--ca-bundle, TRAY_CA_BUNDLE) holds no PEM certificate")]
    NoCertificate {
        /// The file.
        path: String,
    },
}

/// How the operator was started, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Objects of one kind that are reconciled at once.
    pub concurrency: usize,
    /// Ports on which pods reach the API server.
    pub api_server_ports: Vec<u16>,
    /// Groups of support staff that orgs may let in.
    pub support_groups: Vec<String>,
    /// Image that movers run.
    pub mover_image: String,
    /// Pull policy of that image.
    pub mover_image_pull_policy: Option<String>,
    /// PEM certificates to trust besides the system's.
    pub ca_bundle: Option<Arc<[u8]>>,
    /// Orgs have webhook hosts.
    pub webhooks: bool,
}

impl TryFrom<&RunArgs> for Settings {
    type Error = Error;
    fn try_from(args: &RunArgs) -> Result<Self, Error> {
        let ca_bundle = match &args.ca_bundle {
            None => None,
            Some(path) => {
                let shown = path.display().to_string();
                let bytes = fs::read(path).map_err(|source| Error::CaBundle {
                    path: shown.clone(),
                    source,
                })?;
                let marker = b"-----BEGIN CERTIFICATE-----";
                if !bytes.windows(marker.len()).any(|window| window == marker) {
                    return Err(Error::NoCertificate { path: shown });
                }
                Some(Arc::from(bytes))
            }
        };
        Ok(Self {
            concurrency: usize::from(args.concurrency),
            api_server_ports: args.api_server_ports.clone(),
            support_groups: support_groups(&args.support_groups)?,
            mover_image: args.mover_image.clone(),
            mover_image_pull_policy: args.mover_image_pull_policy.clone(),
            ca_bundle,
            webhooks: args.webhooks,
        })
    }
}

/// An empty list comes as one empty name.
fn support_groups(given: &[String]) -> Result<Vec<String>, Error> {
    let named = given
        .iter()
        .map(|group| group.trim())
        .filter(|group| !group.is_empty());
    named
        .map(|group| {
            if group.starts_with("system:") || group.contains(char::is_whitespace) {
                return Err(Error::SupportGroup {
                    group: group.to_owned(),
                });
            }
            Ok(group.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        run: RunArgs,
    }
    fn settings(extra: &[&str]) -> Result<Settings, Error> {
        let line = ["test", "--mover-image", "i:1"].iter().chain(extra);
        Settings::try_from(&Whole::try_parse_from(line).unwrap().run)
    }

    #[test]
    fn ports_are_a_list() {
        let settings = settings(&["--api-server-ports", "443,6443"]).unwrap();
        assert_eq!(settings.api_server_ports, [443, 6443]);
    }

    #[test]
    fn p19_groups_of_support_are_a_list_and_never_everybody() {
        assert!(settings(&[]).unwrap().support_groups.is_empty());
        assert!(
            settings(&["--support-groups", ""])
                .unwrap()
                .support_groups
                .is_empty()
        );
        let two = settings(&["--support-groups", "support,sre"]).unwrap();
        assert_eq!(two.support_groups, ["support", "sre"]);
        for bad in ["system:authenticated", "support,system:masters", "a b"] {
            let error = settings(&["--support-groups", bad]).unwrap_err().to_string();
            assert!(error.contains("--support-groups"), "{error}");
        }
    }

    #[test]
    fn a_ca_bundle_must_be_one_and_is_named_where_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let text = path.display().to_string();
        let error = settings(&["--ca-bundle", &text]).unwrap_err().to_string();
        assert!(error.contains(&text), "{error}");
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(
            settings(&["--ca-bundle", &text]),
            Err(Error::NoCertificate { .. })
        ));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(settings(&["--ca-bundle", &text]).unwrap().ca_bundle.is_some());
    }
}
