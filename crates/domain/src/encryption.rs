//! Whether volumes are encrypted at rest, as far as the parameters of their StorageClass say.

use std::collections::BTreeMap;

/// Provisioners of Amazon EBS: the CSI driver, and the one in Kubernetes that it has taken the place of.
const EBS: [&str; 2] = ["ebs.csi.aws.com", "kubernetes.io/aws-ebs"];

/// Whether a provisioner encrypts the volumes of a class with those parameters; none = they do not say.
///
/// EBS: the parameter `encrypted`, `true` or `false`. Where it is absent, the account's own default decides, which is not
/// seen here. <https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/parameters.md>
pub fn encrypts(provisioner: &str, parameters: &BTreeMap<String, String>) -> Option<bool> {
    if !EBS.contains(&provisioner) {
        return None;
    }
    // The driver reads keys and this value in any case.
    let said = parameters
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("encrypted"));
    said.map(|(_, value)| value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_parameters_say_counts() {
        let said = |provisioner: &str, parameters: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            encrypts(provisioner, &parameters.iter().map(owned).collect())
        };
        for (provisioner, parameters, expected) in [
            (
                "ebs.csi.aws.com",
                &[("type", "gp3"), ("encrypted", "true")][..],
                Some(true),
            ),
            ("ebs.csi.aws.com", &[("Encrypted", "True")], Some(true)),
            ("ebs.csi.aws.com", &[("encrypted", "false")], Some(false)),
            ("ebs.csi.aws.com", &[("type", "gp3")], None),
            ("kubernetes.io/aws-ebs", &[("encrypted", "true")], Some(true)),
            ("example.com/disk", &[("encrypted", "true")], None),
            ("kubernetes.io/no-provisioner", &[], None),
        ] {
            assert_eq!(
                said(provisioner, parameters),
                expected,
                "{provisioner} {parameters:?}"
            );
        }
    }
}
