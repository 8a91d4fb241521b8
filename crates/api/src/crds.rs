//! The CustomResourceDefinitions, as objects and as YAML.

use std::{fs, io, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};

use super::kinds::Kind;

const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Why the CRDs could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CRD has no YAML form.
    #[error("failed to render the CRD {name}: {source}")]
    Render {
        /// The CRD.
        name: String,
        /// What the YAML writer said.
        source: serde_saphyr::ser::Error,
    },
    /// A file could not be written.
    #[error("failed to write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Every CRD, ready to be applied.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    Kind::ALL
        .into_iter()
        .map(|kind| keep(limit_name(kind.definition(), kind.longest_name())))
        .collect()
}

/// Each CRD as one YAML document: file name (`<plural>.yaml`) and text.
pub fn render() -> Result<Vec<(String, String)>, Error> {
    all_crds()
        .iter()
        .map(|crd| {
            let yaml = serde_saphyr::to_string(crd).map_err(|source| Error::Render {
                name: crd.spec.names.kind.clone(),
                source,
            })?;
            Ok((format!("{}.yaml", crd.spec.names.plural), yaml))
        })
        .collect()
}

/// Writes each CRD into a file of its own in `folder`, which must be there.
pub fn write(folder: &Path) -> Result<(), Error> {
    for (file, yaml) in render()? {
        let path = folder.join(file);
        fs::write(&path, yaml).map_err(|source| Error::Write {
            path: path.display().to_string(),
            source,
        })?;
    }
    Ok(())
}

/// Uninstalling the chart leaves the CRDs, and with them every org: deleting a CRD deletes its objects.
fn keep(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let annotations = crd.metadata.annotations.get_or_insert_default();
    annotations.insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    crd
}

/// Names are DNS labels of at most `longest` characters. In the schema, not as a rule: the API server then says which
/// field is wrong and how.
fn limit_name(mut crd: CustomResourceDefinition, longest: i64) -> CustomResourceDefinition {
    let name = JSONSchemaProps {
        type_: Some("string".into()),
        max_length: Some(longest),
        pattern: Some(DNS_LABEL.into()),
        ..JSONSchemaProps::default()
    };
    let metadata = JSONSchemaProps {
        type_: Some("object".into()),
        properties: Some([("name".to_owned(), name)].into()),
        ..JSONSchemaProps::default()
    };
    for version in &mut crd.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(properties) = root.and_then(|r| r.properties.as_mut()) {
            properties.insert("metadata".to_owned(), metadata.clone());
        }
    }
    crd
}
