//! Our kinds, in one table. What each of them needs (a CRD, a watch, a driver, rights, words) follows from it, does not compile
//! without it, or has a test that names what is missing: `docs/adding-a-kind.md`.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, core::ApiResource};

/// Longest name of a Region or TrayOrg: an org's name is part of its namespace's, which ends at 63 characters.
const SHORT_NAME: i64 = 40;
/// Longest name of the other kinds: names become label values.
const LABEL_NAME: i64 = 63;

/// A type of ours.
pub trait OfKind {
    /// Its kind.
    const KIND: Kind;
}

/// Makes the table out of each kind's name and the module of its type.
macro_rules! kinds {
    ($($kind:ident in $module:ident),+ $(,)?) => {
        /// A kind of ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($kind),+
        }

        impl Kind {
            /// Every kind, after those that its objects name.
            pub const ALL: [Self; [$(stringify!($kind)),+].len()] = [$(Self::$kind),+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind)),+
                }
            }
        }

        $(impl OfKind for super::$module::$kind {
            const KIND: Kind = Kind::$kind;
        })+
    };
}

kinds! {
    Region in region,
    RetentionPolicy in retention_policy,
    BackupSchedule in backup_schedule,
    TrayOrg in trayorg,
    OrgSnapshot in orgsnapshot,
    OrgRestore in orgrestore,
    SupportAccess in support_access,
    OrgTombstone in orgtombstone,
}

/// Does the same with the type of whichever kind it is: `with_kind!(kind, K => Api::<K>::all(client))`.
#[macro_export]
macro_rules! with_kind {
    ($kind:expr, $type:ident => $does:expr) => {
        match $kind {
            $crate::kinds::Kind::Region => {
                type $type = $crate::region::Region;
                $does
            }
            $crate::kinds::Kind::RetentionPolicy => {
                type $type = $crate::retention_policy::RetentionPolicy;
                $does
            }
            $crate::kinds::Kind::BackupSchedule => {
                type $type = $crate::backup_schedule::BackupSchedule;
                $does
            }
            $crate::kinds::Kind::TrayOrg => {
                type $type = $crate::trayorg::TrayOrg;
                $does
            }
            $crate::kinds::Kind::OrgSnapshot => {
                type $type = $crate::orgsnapshot::OrgSnapshot;
                $does
            }
            $crate::kinds::Kind::OrgRestore => {
                type $type = $crate::orgrestore::OrgRestore;
                $does
            }
            $crate::kinds::Kind::SupportAccess => {
                type $type = $crate::support_access::SupportAccess;
                $does
            }
            $crate::kinds::Kind::OrgTombstone => {
                type $type = $crate::orgtombstone::OrgTombstone;
                $does
            }
        }
    };
}

impl Kind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether its status has conditions: what is wrong with an object is said there.
    pub const fn has_conditions(self) -> bool {
        match self {
            Self::Region
            | Self::BackupSchedule
            | Self::TrayOrg
            | Self::OrgSnapshot
            | Self::OrgRestore
            | Self::SupportAccess => true,
            // What a policy leads to is said by the orgs that name it; a tombstone has no status.
            Self::RetentionPolicy | Self::OrgTombstone => false,
        }
    }

    /// Most characters of an object's name.
    pub const fn longest_name(self) -> i64 {
        match self {
            Self::Region | Self::TrayOrg => SHORT_NAME,
            Self::RetentionPolicy
            | Self::BackupSchedule
            | Self::OrgSnapshot
            | Self::OrgRestore
            | Self::SupportAccess
            | Self::OrgTombstone => LABEL_NAME,
        }
    }

    /// Where the API server has its objects.
    pub fn resource(self) -> ApiResource {
        with_kind!(self, K => ApiResource::erase::<K>(&()))
    }

    /// Its definition, as far as the type says it: [`super::crds`] has the whole.
    pub(super) fn definition(self) -> CustomResourceDefinition {
        with_kind!(self, K => K::crd())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_what_its_definition_says() {
        for kind in Kind::ALL {
            let definition = kind.definition();
            assert_eq!(definition.spec.names.kind, kind.as_str());
            assert_eq!(Kind::named(kind.as_str()), Some(kind));
            assert_eq!(with_kind!(kind, K => K::KIND), kind);
            let schema = definition.spec.versions[0].schema.as_ref().unwrap();
            let schema = serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap();
            let conditions = schema.pointer("/properties/status/properties/conditions");
            assert_eq!(kind.has_conditions(), conditions.is_some(), "{kind}");
        }
    }

    #[test]
    fn all_kinds_are_listed_by_one_word() {
        for kind in Kind::ALL {
            let categories = kind.definition().spec.names.categories.unwrap_or_default();
            assert_eq!(categories, ["tray"], "kubectl get tray does not list {kind}");
        }
    }

    #[test]
    fn the_conditions_of_every_kind_are_in_the_documentation() {
        let docs = include_str!("../../../docs/operations.md");
        for kind in Kind::ALL.into_iter().filter(|kind| kind.has_conditions()) {
            let row = format!("\n| {kind} | ");
            assert!(docs.contains(&row), "docs/operations.md has no row of {kind}");
        }
    }
}
