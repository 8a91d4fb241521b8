//! Which cloud regions lie in which jurisdiction: the one table that CRD rules and code read.
//!
//! Regions are listed by name, never matched by prefix: `eu-west-2` is London and `eu-central-2` Zurich, neither of
//! which is in the EU, and a prefix would let a region in that does not exist.

use serde::{Deserialize, Serialize};

/// Under whose law an org's data has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Jurisdiction {
    /// United States.
    #[serde(rename = "US")]
    Us,
    /// European Union.
    #[serde(rename = "EU")]
    Eu,
    /// Asia and the Pacific.
    #[serde(rename = "APAC")]
    Apac,
}

impl Jurisdiction {
    /// Every jurisdiction.
    pub const ALL: [Self; 3] = [Self::Us, Self::Eu, Self::Apac];

    /// As written in manifests and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "US",
            Self::Eu => "EU",
            Self::Apac => "APAC",
        }
    }

    /// The AWS regions that lie in it.
    pub const fn cloud_regions(self) -> &'static [&'static str] {
        match self {
            Self::Us => &["us-east-1", "us-east-2", "us-west-1", "us-west-2"],
            Self::Eu => &[
                "eu-central-1",
                "eu-north-1",
                "eu-south-1",
                "eu-south-2",
                "eu-west-1",
                "eu-west-3",
            ],
            Self::Apac => &[
                "ap-east-1",
                "ap-east-2",
                "ap-northeast-1",
                "ap-northeast-2",
                "ap-northeast-3",
                "ap-south-1",
                "ap-south-2",
                "ap-southeast-1",
                "ap-southeast-2",
                "ap-southeast-3",
                "ap-southeast-4",
                "ap-southeast-5",
                "ap-southeast-6",
                "ap-southeast-7",
            ],
        }
    }

    /// The jurisdiction a cloud region lies in; none where no jurisdiction of ours holds it.
    pub fn of_cloud_region(cloud_region: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|jurisdiction| jurisdiction.cloud_regions().contains(&cloud_region))
    }
}

impl std::fmt::Display for Jurisdiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn london_zurich_and_unknown_regions_lie_nowhere() {
        for elsewhere in ["eu-west-2", "eu-central-2", "ap-nowhere-9", "us-gov-west-1", ""] {
            assert_eq!(Jurisdiction::of_cloud_region(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(Jurisdiction::of_cloud_region("eu-west-1"), Some(Jurisdiction::Eu));
        assert_eq!(
            Jurisdiction::of_cloud_region("ap-southeast-2"),
            Some(Jurisdiction::Apac)
        );
    }

    #[test]
    fn no_cloud_region_is_listed_twice() {
        let mut all: Vec<_> = Jurisdiction::ALL.iter().flat_map(|j| j.cloud_regions()).collect();
        let listed = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), listed);
    }

    #[test]
    fn text_and_serialized_form_agree() {
        for jurisdiction in Jurisdiction::ALL {
            assert_eq!(
                serde_json::to_value(jurisdiction).unwrap(),
                serde_json::Value::from(jurisdiction.as_str())
            );
        }
    }
}
