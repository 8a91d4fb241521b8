//! The SDK's clients, one set per backup location: https only, with bounds on every wait, and the credentials and trusted
//! roots that the process was started with. Nothing else of the process's surroundings decides where requests go.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::{SharedHttpClient, SharedIdentityCache};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tray_domain::mover_task::BucketLocation;
use tray_ledger::RemoteError;
use tray_ports::Clock;

/// Why no client can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsClientError {
    /// The bundle cannot be read.
    #[error(
        "the CA bundle cannot be used: {0}; give PEM certificates, each between BEGIN and END CERTIFICATE"
    )]
    CaBundle(String),
    /// There is nothing to trust.
    #[error(
        "the system has no root certificates and no CA bundle is given: install ca-certificates or give a bundle"
    )]
    NoRoots,
    /// The SDK refuses what it was given.
    #[error("failed to set up TLS: {0}")]
    Tls(String),
}

/// How long to wait for what. Every call ends within [`Patience::operation`], and a body within [`Patience::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// From sending a request, its body included, to the first byte of the answer.
    pub answer: Duration,
    /// For one try.
    pub attempt: Duration,
    /// For all tries of a call.
    pub operation: Duration,
    /// Tries of a call, and re-issues of a body that brought nothing new.
    pub tries: u32,
    /// First pause between tries.
    pub pause: Duration,
    /// Without a byte of a body.
    pub idle: Duration,
    /// Bytes a second below which a body is given up.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_mins(1),
            attempt: Duration::from_mins(2),
            operation: Duration::from_mins(5),
            tries: 4,
            pause: Duration::from_millis(100),
            idle: Duration::from_secs(20),
            slowest: 64 * 1024,
        }
    }
}

impl Patience {
    /// For a body of `bytes`, with all that is done to get it.
    pub fn body(&self, bytes: u64) -> Duration {
        self.idle * self.tries + Duration::from_secs(bytes / self.slowest.max(1))
    }

    fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.answer)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }

    fn retries(&self) -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(self.tries)
            .with_initial_backoff(self.pause)
            .with_max_backoff(Duration::from_secs(5))
    }
}

/// What all clients of a process share.
#[derive(Clone)]
pub struct AwsClients {
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
    identities: SharedIdentityCache,
    patience: Patience,
    clock: Arc<dyn Clock>,
    web_identity_token: Option<PathBuf>,
}

/// Makes the configuration of one SDK. None of them reads the environment.
macro_rules! config {
    ($sdk:ident, $clients:expr, $location:expr, $endpoint:expr) => {{
        let (clients, location): (&AwsClients, &BucketLocation) = ($clients, $location);
        let mut config = $sdk::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(location.cloud_region.clone()))
            .http_client(clients.http.clone())
            .identity_cache(clients.identities.clone())
            .credentials_provider(clients.credentials.clone())
            .timeout_config(clients.patience.timeouts())
            .retry_config(clients.patience.retries());
        if !$endpoint.is_empty() {
            config = config.endpoint_url(https($endpoint)?);
        }
        config
    }};
}

impl AwsClients {
    /// Clients that use `credentials`. `ca_bundle` (PEM) is trusted besides the system's roots.
    pub fn new(
        credentials: impl ProvideCredentials + 'static,
        ca_bundle: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AwsClientError> {
        Ok(Self {
            http: http_client(ca_bundle)?,
            credentials: SharedCredentialsProvider::new(credentials),
            // Ten minutes before their end credentials are asked for anew, while the old ones still serve.
            identities: IdentityCache::lazy().buffer_time(Duration::from_mins(10)).build(),
            patience: Patience::default(),
            clock,
            web_identity_token: None,
        })
    }

    /// Clients with the operator's own credentials, from the SDK's default chain (with a web identity: by the STS of
    /// `AWS_REGION`).
    pub async fn with_default_credentials(
        ca_bundle: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AwsClientError> {
        let chain = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client(ca_bundle)?)
            .load()
            .await;
        let credentials = chain.credentials_provider();
        Self::new(
            credentials.unwrap_or_else(|| SharedCredentialsProvider::new(NoCredentials)),
            ca_bundle,
            clock,
        )
    }

    /// The same with a web identity token: sessions are then assumed with it instead of the operator's own role, so that
    /// no chain of roles limits them.
    #[must_use]
    pub fn with_web_identity_token(mut self, token: Option<PathBuf>) -> Self {
        self.web_identity_token = token;
        self
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The bounds.
    pub fn debounce(&self) -> Patience {
        self.patience
    }

    /// The process's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Where the web identity token lies.
    pub fn web_identity_token(&self) -> Option<PathBuf> {
        self.web_identity_token.clone()
    }

    /// S3 of a location: path style where it has an endpoint of its own.
    pub fn s3(&self, location: &BucketLocation) -> Result<aws_sdk_s3::config::Builder, RemoteError> {
        let endpoint = &location.endpoints.s3;
        Ok(config!(aws_sdk_s3, self, location, endpoint).force_path_style(!endpoint.is_empty()))
    }

    /// KMS of a location.
    pub fn kms(&self, location: &BucketLocation) -> Result<aws_sdk_kms::Client, RemoteError> {
        let config = config!(aws_sdk_kms, self, location, &location.endpoints.kms);
        Ok(aws_sdk_kms::Client::from_conf(config.build()))
    }

    /// STS of a location.
    pub fn sts(&self, location: &BucketLocation) -> Result<aws_sdk_sts::Client, RemoteError> {
        let config = config!(aws_sdk_sts, self, location, &location.endpoints.sts);
        Ok(aws_sdk_sts::Client::from_conf(config.build()))
    }
}

/// Stands where the default chain found nothing to ask.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        use aws_credential_types::provider::{error::CredentialsError, future};
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(
            "no AWS credentials: set aws.roleArn in the chart's values",
        )))
    }
}

fn https(endpoint: &str) -> Result<&str, RemoteError> {
    if endpoint.starts_with("https://") {
        return Ok(endpoint);
    }
    Err(RemoteError::Unusable(format!(
        "the endpoint {endpoint} is not https://: data and credentials leave the process only encrypted"
    )))
}

fn http_client(ca_bundle: Option<&[u8]>) -> Result<SharedHttpClient, AwsClientError> {
    // The SDK panics where it is told to use system roots and there are none.
    let system = !rustls_native_certs::load_native_certs().certs.is_empty();
    let mut roots = TrustStore::empty().with_native_roots(system);
    match ca_bundle {
        // The SDK panics on a bundle that it cannot read.
        Some(bundle) => {
            check_bundle(bundle)?;
            roots.add_pem_certificate(bundle);
        }
        None if !system => return Err(AwsClientError::NoRoots),
        None => {}
    }
    let context = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .map_err(|error| AwsClientError::Tls(error.to_string()))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

fn check_bundle(bundle: &[u8]) -> Result<(), AwsClientError> {
    let refused = |error: &dyn std::fmt::Display| AwsClientError::CaBundle(error.to_string());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        store.add(certificate).map_err(|error| refused(&error))?;
    }
    if store.is_empty() {
        return Err(AwsClientError::CaBundle("it holds no certificate".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use jiff::Timestamp;

    use super::*;
    use tray_domain::mover_task::Endpoints;

    struct Epoch;
    impl Clock for Epoch {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    fn clients(bundle: Option<&[u8]>) -> Result<AwsClients, AwsClientError> {
        AwsClients::new(
            Credentials::new("id", "secret", None, None, "tests"),
            bundle,
            Arc::new(Epoch),
        )
    }
    fn location(s3: &str) -> BucketLocation {
        BucketLocation {
            bucket: "b".into(),
            bucket_owner: "111122223333".into(),
            cloud_region: "eu-central-1".into(),
            prefix: String::new(),
            endpoints: Endpoints {
                s3: s3.into(),
                kms: s3.into(),
                sts: s3.into(),
            },
        }
    }

    #[test]
    fn a_bundle_that_is_none_is_refused_and_not_a_panic() {
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bundle in ["", "hello", garbage] {
            assert!(matches!(
                clients(Some(bundle.as_bytes())).map(drop),
                Err(AwsClientError::CaBundle(_))
            ));
        }
    }

    #[test]
    fn a_bundle_serves_where_the_system_has_no_roots() {
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert!(clients(Some(authority.cert.pem().as_bytes())).is_ok());
    }

    #[test]
    fn only_https_is_spoken() {
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let clients = clients(Some(authority.cert.pem().as_bytes())).unwrap();
        for endpoint in ["http://localhost:4566", "localhost", "ftp://x"] {
            let location = location(endpoint);
            assert!(
                matches!(clients.s3(&location), Err(RemoteError::Unusable(text)) if text.contains(endpoint))
            );
            assert!(clients.kms(&location).is_err() && clients.sts(&location).is_err());
        }
        assert!(clients.s3(&location("https://localhost")).is_ok());
        assert!(clients.s3(&location("")).is_ok());
    }

    #[test]
    fn a_body_has_time_by_its_size() {
        let patience = Patience::default();
        let every_try_idle = patience.idle * patience.tries;
        assert_eq!(patience.body(0), every_try_idle);
        assert_eq!(
            patience.body(patience.slowest * 100),
            every_try_idle + Duration::from_secs(100)
        );
    }
}
