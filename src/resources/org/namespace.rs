//! The namespace. Its labels are what the admission policies go by, and what finds the org's data again after the
//! TrayOrg was deleted.

use serde_json::{Map, Value, json};
use tray_api::{
    region::RegionSpec,
    trayorg::{Owner, OwnerRole},
};
use tray_domain::names;

use super::Placement;
use crate::resources::child::{ChildKind, DesiredChild};

/// Level of PodSecurity that every pod of an org has to keep.
const POD_SECURITY: &str = "restricted";

/// The org's namespace. `support` are the groups of support that may debug at present: the exec gate goes by them.
pub fn namespace(
    placement: &Placement,
    owners: &[Owner],
    region: &RegionSpec,
    support: Option<&str>,
) -> DesiredChild {
    let mut labels = pinned_labels(placement);
    labels.insert(
        names::LABEL_STORAGE_CLASS.into(),
        region.storage.storage_class_name.clone().into(),
    );
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), POD_SECURITY.into());
        labels.insert(
            format!("pod-security.kubernetes.io/{mode}-version"),
            "latest".into(),
        );
    }
    // Its org is back.
    labels.insert(names::LABEL_RETAINED.into(), Value::Null);
    labels.insert(names::LABEL_ORPHANED.into(), Value::Null);
    child(placement, &labels, support, admins(owners).as_deref())
}

/// Who may let support in, as the policy on SupportAccess reads it; none = nobody.
pub fn admins(owners: &[Owner]) -> Option<String> {
    let admins = owners.iter().filter(|owner| owner.role == OwnerRole::Admin);
    let lines: Vec<String> = admins
        .map(|owner| format!("{}/{}", owner.kind.as_str(), owner.name))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The namespace of an org that was deleted: its volumes stay, and it says so.
pub fn retained(placement: &Placement) -> DesiredChild {
    abandoned(placement, names::LABEL_RETAINED)
}

/// The namespace of an org that was deleted past its protection: everything in it goes on, and it says so.
pub fn orphaned(placement: &Placement) -> DesiredChild {
    abandoned(placement, names::LABEL_ORPHANED)
}

fn abandoned(placement: &Placement, label: &str) -> DesiredChild {
    let mut labels = pinned_labels(placement);
    labels.insert(label.into(), "true".into());
    child(placement, &labels, None, None)
}

/// Only who of support may debug, and who may let support in, of a namespace that is otherwise left as it is.
pub fn gate(namespace: &str, support: Option<&str>, admins: Option<&str>) -> DesiredChild {
    let annotations = json!({names::ANNOTATION_SUPPORT_ACCESS: support, names::ANNOTATION_ADMINS: admins});
    let body = json!({"metadata": {"annotations": annotations}});
    DesiredChild::new(ChildKind::Namespace, "", namespace, body)
}

fn pinned_labels(placement: &Placement) -> Map<String, Value> {
    let mut labels = placement.labels();
    let region = &placement.region;
    labels.insert(names::LABEL_REGION.into(), region.cloud_region.clone().into());
    labels.insert(names::LABEL_REGION_NAME.into(), region.name.clone().into());
    labels.insert(
        names::LABEL_JURISDICTION.into(),
        region.jurisdiction.as_str().into(),
    );
    labels
}

fn child(
    placement: &Placement,
    labels: &Map<String, Value>,
    support: Option<&str>,
    admins: Option<&str>,
) -> DesiredChild {
    let mut annotations =
        json!({names::ANNOTATION_SUPPORT_ACCESS: support, names::ANNOTATION_ADMINS: admins});
    // What is not known is left as it is.
    if let Some(place) = &placement.backup {
        annotations[names::ANNOTATION_BACKUP_PLACE] = json!(place).to_string().into();
    }
    let body = json!({"metadata": {"labels": labels, "annotations": annotations}});
    DesiredChild::new(ChildKind::Namespace, "", placement.namespace.clone(), body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_api::trayorg::OwnerKind;

    fn owner(kind: OwnerKind, name: &str, role: OwnerRole) -> Owner {
        Owner {
            kind,
            name: name.to_owned(),
            role,
        }
    }

    #[test]
    fn the_namespace_says_whose_it_is_where_it_is_and_what_its_pods_may() {
        let owners = [
            owner(OwnerKind::Group, "acme-admins", OwnerRole::Admin),
            owner(OwnerKind::User, "ann", OwnerRole::Admin),
            owner(OwnerKind::Group, "acme-viewers", OwnerRole::Viewer),
        ];
        let placement = fixtures::placement();
        let child = namespace(&placement, &owners, &fixtures::region(), Some("support"));
        assert_eq!(child.id.name, "org-acme-7c9e6679");
        let labels = &child.body["metadata"]["labels"];
        for (label, want) in [
            ("app.kubernetes.io/managed-by", "tray-operator"),
            ("platform.tray.ai/org", "acme"),
            ("platform.tray.ai/org-id", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
            ("platform.tray.ai/region", "eu-west-1"),
            ("platform.tray.ai/region-name", "eu"),
            ("platform.tray.ai/jurisdiction", "EU"),
            ("platform.tray.ai/storage-class", "org-encrypted"),
            ("pod-security.kubernetes.io/enforce", "restricted"),
        ] {
            assert_eq!(labels[label], want, "{label}");
        }
        assert!(
            labels[names::LABEL_RETAINED].is_null() && labels[names::LABEL_ORPHANED].is_null(),
            "an org that is back is neither retained nor orphaned"
        );
        let annotations = &child.body["metadata"]["annotations"];
        assert_eq!(annotations[names::ANNOTATION_SUPPORT_ACCESS], "support");
        assert_eq!(
            annotations[names::ANNOTATION_ADMINS],
            "Group/acme-admins\nUser/ann"
        );
        assert_eq!(
            annotations[names::ANNOTATION_BACKUP_PLACE],
            r#"{"bucket":"tray-backups-eu","bucketOwner":"111122223333","prefix":""}"#
        );
        let unknown = namespace(
            &placement.clone().with_backup(None),
            &[],
            &fixtures::region(),
            None,
        );
        let annotations = unknown.body["metadata"]["annotations"].as_object().unwrap();
        assert!(
            !annotations.contains_key(names::ANNOTATION_BACKUP_PLACE),
            "it would be taken away"
        );
        let nobodys = namespace(&placement, &owners[2..], &fixtures::region(), None);
        assert!(nobodys.body["metadata"]["annotations"][names::ANNOTATION_ADMINS].is_null());
    }

    #[test]
    fn an_abandoned_namespace_keeps_what_finds_it_again() {
        for (child, label) in [
            (retained(&fixtures::placement()), names::LABEL_RETAINED),
            (orphaned(&fixtures::placement()), names::LABEL_ORPHANED),
        ] {
            let labels = &child.body["metadata"]["labels"];
            assert_eq!(labels[label], "true");
            for annotation in [names::ANNOTATION_SUPPORT_ACCESS, names::ANNOTATION_ADMINS] {
                assert!(child.body["metadata"]["annotations"][annotation].is_null());
            }
            assert_eq!(labels[names::LABEL_REGION], "eu-west-1");
            assert!(child.body["metadata"]["annotations"][names::ANNOTATION_BACKUP_PLACE].is_string());
            assert_eq!(
                labels[names::LABEL_ORG_ID],
                "7c9e6679-7425-40de-944b-e07fc1f90ae7"
            );
        }
    }
}
