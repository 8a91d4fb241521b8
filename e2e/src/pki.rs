//! The cluster's certificate authority and the kubeconfigs that it signs.

use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::error::Result;
use crate::files;

/// A certificate authority: signs servers and clients.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// Makes a new authority and writes `ca.crt` and `ca.key` to `directory`.
    pub fn create(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = authority_params().self_signed(&key)?.pem();
        files::write(&directory.join("ca.crt"), &certificate)?;
        files::write_private(&directory.join("ca.key"), key.serialize_pem())?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(authority_params(), key),
        })
    }

    /// Takes up the authority that [`Authority::create`] wrote to `directory`.
    pub fn load(directory: &Path) -> Result<Self> {
        let certificate = files::read(&directory.join("ca.crt"))?;
        let key = KeyPair::from_pem(&files::read(&directory.join("ca.key"))?)?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(authority_params(), key),
        })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server certificate for DNS names and addresses.
    pub fn server(&self, common_name: &str, names: &[&str], addresses: &[IpAddr]) -> Result<Identity> {
        let names: Vec<String> = names
            .iter()
            .map(ToString::to_string)
            .chain(addresses.iter().map(ToString::to_string))
            .collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate: Kubernetes reads the common name as the user and the organisation as its group.
    /// One group only: the encoder writes an attribute once.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        // The default parameters come with a common name of their own.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A kubeconfig for `user`, complete in itself.
    pub fn kubeconfig(&self, server: &str, user: &str, group: Option<&str>) -> Result<String> {
        let identity = self.client(user, group)?;
        let encode = |pem: &str| BASE64_STANDARD.encode(pem);
        // JSON is YAML.
        Ok(format!(
            "{:#}\n",
            json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "tray", "cluster": {
                    "server": server,
                    "certificate-authority-data": encode(&self.certificate),
                }}],
                "users": [{"name": user, "user": {
                    "client-certificate-data": encode(&identity.certificate),
                    "client-key-data": encode(&identity.key),
                }}],
                "contexts": [{"name": "tray", "context": {"cluster": "tray", "user": user}}],
                "current-context": "tray",
            })
        ))
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key` to `directory`.
    pub fn write(&self, directory: &Path, name: &str) -> Result<()> {
        files::write(&directory.join(format!("{name}.crt")), &self.certificate)?;
        files::write_private(&directory.join(format!("{name}.key")), &self.key)
    }
}

/// Writes the key pair that signs service account tokens: `<name>.key` and `<name>.pub`.
pub fn write_key_pair(directory: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate()?;
    files::write_private(&directory.join(format!("{name}.key")), key.serialize_pem())?;
    files::write(&directory.join(format!("{name}.pub")), key.public_key_pem())
}

/// The same every time, so that a loaded authority signs as the one that was created.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "tray local cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}
