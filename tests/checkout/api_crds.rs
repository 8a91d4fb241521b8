//! The CRDs in the repository are those of the code, and their schemas are complete.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use tray_api::crds;

/// Where the CRDs lie: for people, and for the chart.
const FOLDERS: [&str; 2] = ["crds", "charts/tray-operator/files/crds"];

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn committed_crds_are_those_of_the_code() {
    let rendered = crds::render().unwrap();
    for name in FOLDERS {
        for (file, yaml) in &rendered {
            let committed = fs::read_to_string(folder(name).join(file)).unwrap_or_default();
            assert!(
                &committed == yaml,
                "{name}/{file} differs from the code: run `make generate`"
            );
        }
        let files = fs::read_dir(folder(name)).unwrap().count();
        assert_eq!(files, rendered.len(), "{name} holds files that no kind makes");
    }
}

#[test]
#[ignore = "writes the files that `committed_crds_are_those_of_the_code` compares"]
fn regenerate() {
    for name in FOLDERS {
        crds::write(&folder(name)).unwrap();
    }
}

#[test]
fn rendered_crds_read_back_as_they_were() {
    for ((_, yaml), crd) in crds::render().unwrap().iter().zip(crds::all_crds()) {
        let read: serde_json::Value = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}

/// Calls `visit` for the schema and all below it, each with its path.
fn walk(path: &str, schema: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, property) in schema.properties.iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
}

/// Calls `visit` for every schema below `spec` or `status` of every kind.
fn each_schema(part: &str, mut visit: impl FnMut(&str, &JSONSchemaProps)) {
    for crd in crds::all_crds() {
        let kind = &crd.spec.names.kind;
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        let root = schema.open_api_v3_schema.as_ref().unwrap();
        if let Some(schema) = root.properties.as_ref().unwrap().get(part) {
            walk(&format!("{kind}.{part}"), schema, &mut visit);
        }
    }
}

#[test]
fn every_field_is_explained() {
    let mut silent = vec![];
    for part in ["spec", "status"] {
        each_schema(part, |path, schema| {
            // Items of a list are explained by the list.
            if !path.ends_with("[]") && schema.description.is_none() {
                silent.push(path.to_owned());
            }
        });
    }
    assert!(silent.is_empty(), "no description: {silent:#?}");
}

#[test]
fn every_list_and_text_of_a_spec_is_bounded() {
    let mut unbounded = vec![];
    each_schema("spec", |path, schema| {
        let bounded = match schema.type_.as_deref() {
            Some("array") => schema.max_items.is_some(),
            Some("string") => {
                schema.max_length.is_some()
                    || schema.enum_.is_some()
                    || schema.format.as_deref() == Some("date-time")
            }
            Some("integer") => schema.minimum.is_some() && schema.maximum.is_some(),
            None => schema.max_length.is_some(),
            _ => true,
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
    });
    assert!(unbounded.is_empty(), "no bound: {unbounded:#?}");
}

#[test]
fn a_status_starts_as_not_observed() {
    let mut statuses = 0;
    each_schema("status", |path, schema| {
        if path.matches('.').count() == 1 {
            statuses += 1;
            let default = schema.default.as_ref().map(|d| d.0.clone());
            assert_eq!(
                default,
                Some(serde_json::json!({"observedGeneration": -1})),
                "{path}"
            );
        }
    });
    let kinds = crds::all_crds();
    let with_status = kinds
        .iter()
        .filter(|crd| crd.spec.versions[0].subresources.is_some());
    assert_eq!(statuses, with_status.count());
    assert_eq!(
        statuses,
        kinds.len() - 1,
        "every kind but OrgTombstone has a status"
    );
}

#[test]
fn no_field_has_a_format_that_kubectl_does_not_know() {
    for part in ["spec", "status"] {
        each_schema(part, |path, schema| {
            let format = schema.format.as_deref();
            assert!(
                !format.is_some_and(|f| f.starts_with("uint")),
                "{path}: {format:?} makes kubectl warn at every apply"
            );
        });
    }
}
