//! JSON schemas of those types that stand in the kinds.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    backup_place::BackupPlace,
    cloud_regions::Jurisdiction,
    manifest::{Consistency, RunVerdict},
    stage::Stage,
    support::{Action, Role},
};

macro_rules! text_schema {
    ($type:ty, $name:literal, [$($value:expr),+]) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": [$($value),+]})
            }
        }
    };
}
// The tests below hold these to how the types are written.
text_schema!(Jurisdiction, "Jurisdiction", ["US", "EU", "APAC"]);
text_schema!(Consistency, "Consistency", ["Hooks", "AtRest", "Live"]);
text_schema!(RunVerdict, "Verdict", ["Good", "Suspicious"]);
text_schema!(Stage, "Stage", ["Production", "NonProduction"]);
text_schema!(Role, "SupportRole", ["View", "Debug"]);
text_schema!(
    Action,
    "SupportAction",
    ["Granted", "Expired", "Removed", "Closed", "Reopened"]
);

impl JsonSchema for BackupPlace {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BackupPlace".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = |description: &str, longest: u32| json_schema!({"description": description, "type": "string", "maxLength": longest});
        let owner = "AWS account that owns it; absent where it is not known.";
        json_schema!({
            "type": "object",
            "properties": {
                "bucket": text("The bucket.", 63),
                "bucketOwner": text(owner, 12),
                "prefix": text("Put before every object's name, may be empty; absent where it is not known.", 200),
            },
            "required": ["bucket"],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[test]
    fn the_schema_of_a_backup_place_has_the_fields_that_serde_writes() {
        let schema = BackupPlace::json_schema(&mut SchemaGenerator::default());
        let written = serde_json::to_value(BackupPlace::whole("b", "1", "")).unwrap();
        let fields = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(fields(schema.get("properties").unwrap()), fields(&written));
    }

    fn assert_listed<T: JsonSchema + Serialize>(values: &[T]) {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        assert_eq!(schema.get("enum"), Some(&serde_json::to_value(values).unwrap()));
    }

    #[test]
    fn schemas_of_domain_types_list_what_serde_writes() {
        assert_listed(&Jurisdiction::ALL);
        assert_listed(&[Consistency::Hooks, Consistency::AtRest, Consistency::Live]);
        assert_listed(&[RunVerdict::Good, RunVerdict::Suspicious]);
        assert_listed(&[Stage::Production, Stage::NonProduction]);
        assert_listed(&Role::ALL);
        assert_listed(&Action::ALL);
    }
}
