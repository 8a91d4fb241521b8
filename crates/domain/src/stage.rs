//! How much a region is relied upon, and where data may go by it: what customers put into production is never used in
//! staging or development.

use serde::{Deserialize, Serialize};

/// How much a region is relied upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Customers' data. What says nothing is taken for it.
    #[default]
    Production,
    /// Everything else.
    NonProduction,
}

impl Stage {
    /// Whether data of this stage may be brought into a region of stage `target`.
    pub fn may_enter(self, target: Self) -> bool {
        self == target || target == Self::Production
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_production_data_enters_production_alone() {
        use Stage::{NonProduction, Production};
        for (data, target, want) in [
            (Production, Production, true),
            (Production, NonProduction, false),
            (NonProduction, NonProduction, true),
            (NonProduction, Production, true),
        ] {
            assert_eq!(data.may_enter(target), want, "{data:?} into {target:?}");
        }
        assert_eq!(
            serde_json::from_str::<Stage>("\"NonProduction\"").unwrap(),
            NonProduction
        );
        assert_eq!(Stage::default(), Production, "unknown is never harmless");
    }
}
