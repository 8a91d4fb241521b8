//! What a bucket's own rules would do to backups: lifecycle and replication, read as S3 gives them.

use aws_sdk_s3::types::{
    ExpirationStatus, LifecycleRule, LifecycleRuleAndOperator, ReplicationRule, ReplicationRuleStatus,
};

/// Ids of the enabled rules that would expire current objects under `prefix`, or move them out of immediate reach.
///
/// Rules on non-current versions and on unfinished uploads clean up what nothing reads; a rule that only removes delete
/// markers removes no data.
pub(super) fn harmful_rules(rules: &[LifecycleRule], prefix: &str) -> Vec<String> {
    let harmful = |rule: &&LifecycleRule| {
        rule.status() == &ExpirationStatus::Enabled && touches(rule, prefix) && (expires(rule) || moves(rule))
    };
    rules
        .iter()
        .filter(harmful)
        .map(|rule| rule.id().unwrap_or("(a rule without an id)").to_owned())
        .collect()
}

fn expires(rule: &LifecycleRule) -> bool {
    rule.expiration()
        .is_some_and(|expiration| expiration.days().is_some() || expiration.date().is_some())
}

fn moves(rule: &LifecycleRule) -> bool {
    !rule.transitions().is_empty()
}

/// Days after which the enabled rules remove noncurrent versions of everything under `prefix`: of several the fewest.
pub(super) fn noncurrent_days(rules: &[LifecycleRule], prefix: &str) -> Option<i32> {
    let days = covering(rules, prefix).filter_map(|rule| {
        let expiration = rule.noncurrent_version_expiration()?;
        // One that keeps some versions for ever cleans up nothing that was written once.
        let removes_all = expiration
            .newer_noncurrent_versions()
            .is_none_or(|kept| kept == 0);
        expiration.noncurrent_days().filter(|_| removes_all)
    });
    days.min()
}

/// Days after which the enabled rules give up unfinished uploads of everything under `prefix`: of several the fewest.
pub(super) fn unfinished_upload_days(rules: &[LifecycleRule], prefix: &str) -> Option<i32> {
    let days = covering(rules, prefix)
        .filter_map(|rule| rule.abort_incomplete_multipart_upload()?.days_after_initiation());
    days.min()
}

/// The enabled rules that hold for every object under `prefix`.
fn covering<'a>(rules: &'a [LifecycleRule], prefix: &str) -> impl Iterator<Item = &'a LifecycleRule> {
    let covers = move |rule: &&LifecycleRule| {
        rule.status() == &ExpirationStatus::Enabled
            && !is_narrowed(rule)
            && prefix.starts_with(prefix_of(rule))
    };
    rules.iter().filter(covers)
}

/// Whether a rule is for objects of some tag or size alone.
fn is_narrowed(rule: &LifecycleRule) -> bool {
    let Some(filter) = rule.filter() else {
        return false;
    };
    let by_size = filter.object_size_greater_than().is_some() || filter.object_size_less_than().is_some();
    let narrows = |and: &LifecycleRuleAndOperator| {
        !and.tags().is_empty()
            || and.object_size_greater_than().is_some()
            || and.object_size_less_than().is_some()
    };
    by_size || filter.tag().is_some() || filter.and().is_some_and(narrows)
}

/// Whether a rule can touch an object under `prefix`: its own prefix may be wider, equal or narrower.
fn touches(rule: &LifecycleRule, prefix: &str) -> bool {
    let of_rule = prefix_of(rule);
    of_rule.starts_with(prefix) || prefix.starts_with(of_rule)
}

fn prefix_of(rule: &LifecycleRule) -> &str {
    let filter = rule.filter();
    let of_filter = filter.and_then(|filter| filter.prefix().or_else(|| filter.and()?.prefix()));
    #[allow(deprecated, reason = "buckets still have rules in the old form")]
    of_filter.or_else(|| rule.prefix()).unwrap_or_default()
}

/// Buckets that enabled rules replicate to, by name, each once.
pub(super) fn replication_targets(rules: &[ReplicationRule]) -> Vec<String> {
    let mut targets: Vec<String> = rules
        .iter()
        .filter(|rule| rule.status() == &ReplicationRuleStatus::Enabled)
        .filter_map(|rule| rule.destination())
        .map(|destination| {
            destination
                .bucket()
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, Destination, LifecycleExpiration, LifecycleRuleFilter,
        NoncurrentVersionExpiration, Tag, Transition, builders::LifecycleRuleBuilder,
    };

    use super::*;

    fn rule(id: &str) -> LifecycleRuleBuilder {
        LifecycleRule::builder().id(id).status(ExpirationStatus::Enabled)
    }
    fn under(prefix: &str) -> LifecycleRuleFilter {
        LifecycleRuleFilter::builder().prefix(prefix).build()
    }
    fn in_days(days: i32) -> LifecycleExpiration {
        LifecycleExpiration::builder().days(days).build()
    }

    #[test]
    fn only_enabled_rules_on_current_objects_under_the_prefix_are_harmful() {
        let and = LifecycleRuleAndOperator::builder()
            .prefix("tray/v1/")
            .object_size_greater_than(0)
            .build();
        let rules = [
            rule("everything").filter(under("")).expiration(in_days(30)),
            rule("ours").filter(under("tray/")).expiration(in_days(30)),
            rule("below")
                .filter(LifecycleRuleFilter::builder().and(and).build())
                .expiration(in_days(30)),
            rule("archive")
                .filter(under("tray/"))
                .transitions(Transition::builder().days(1).build()),
            rule("elsewhere").filter(under("other/")).expiration(in_days(30)),
            rule("off")
                .filter(under(""))
                .expiration(in_days(30))
                .status(ExpirationStatus::Disabled),
            rule("clean-up").filter(under("")).noncurrent_version_expiration(
                NoncurrentVersionExpiration::builder().noncurrent_days(7).build(),
            ),
            rule("markers").filter(under("")).expiration(
                LifecycleExpiration::builder()
                    .expired_object_delete_marker(true)
                    .build(),
            ),
        ];
        let rules: Vec<LifecycleRule> = rules.into_iter().map(|rule| rule.build().unwrap()).collect();
        assert_eq!(
            harmful_rules(&rules, "tray/"),
            ["everything", "ours", "below", "archive"]
        );
        assert_eq!(
            harmful_rules(&rules, ""),
            ["everything", "ours", "below", "archive", "elsewhere"]
        );
    }

    fn noncurrent(days: i32) -> NoncurrentVersionExpiration {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(days)
            .build()
    }
    fn uploads(days: i32) -> AbortIncompleteMultipartUpload {
        AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(days)
            .build()
    }

    #[test]
    fn only_enabled_rules_for_everything_under_the_prefix_clean_it_up() {
        let of_a_tag =
            LifecycleRuleFilter::builder().tag(Tag::builder().key("k").value("v").build().unwrap());
        let large = LifecycleRuleFilter::builder().object_size_greater_than(1_000);
        let keeps_three = NoncurrentVersionExpiration::builder()
            .noncurrent_days(1)
            .newer_noncurrent_versions(3);
        for (rule, cleans) in [
            (rule("all").filter(under("")), true),
            (rule("ours").filter(under("tray/")), true),
            (rule("without a filter"), true),
            (rule("below").filter(under("tray/v1/orgs/")), false),
            (rule("elsewhere").filter(under("other/")), false),
            (
                rule("off").filter(under("")).status(ExpirationStatus::Disabled),
                false,
            ),
            (rule("tagged").filter(of_a_tag.build()), false),
            (rule("large").filter(large.build()), false),
        ] {
            let rule = rule
                .noncurrent_version_expiration(noncurrent(30))
                .abort_incomplete_multipart_upload(uploads(7));
            let rules = [rule.build().unwrap()];
            let found = (
                noncurrent_days(&rules, "tray/"),
                unfinished_upload_days(&rules, "tray/"),
            );
            let wanted = if cleans { (Some(30), Some(7)) } else { (None, None) };
            assert_eq!(found, wanted, "{:?}", rules[0].id());
        }
        let of_three = rule("three").noncurrent_version_expiration(keeps_three.build());
        let rules = [of_three.build().unwrap()];
        assert_eq!(
            (noncurrent_days(&rules, ""), unfinished_upload_days(&rules, "")),
            (None, None)
        );
    }

    #[test]
    fn rules_of_the_old_form_count_too() {
        #[allow(deprecated, reason = "that is the old form")]
        let rule = rule("old")
            .prefix("tray/v1/orgs/")
            .expiration(in_days(1))
            .build()
            .unwrap();
        assert_eq!(harmful_rules(&[rule], "tray/"), ["old"]);
    }

    #[test]
    fn targets_are_bucket_names() {
        let rule = |bucket: &str, status| {
            let destination = Destination::builder().bucket(bucket).build().unwrap();
            ReplicationRule::builder()
                .status(status)
                .destination(destination)
                .build()
                .unwrap()
        };
        let rules = [
            rule("arn:aws:s3:::copies", ReplicationRuleStatus::Enabled),
            rule("arn:aws:s3:::copies", ReplicationRuleStatus::Enabled),
            rule("arn:aws:s3:::off", ReplicationRuleStatus::Disabled),
        ];
        assert_eq!(replication_targets(&rules), ["copies"]);
    }
}
