//! Whether an org that is not placed yet is one that was here before, and may have back what is held of it: in its own name,
//! in the Region of the data, and if somebody who may has allowed it (docs/adr/0023).

use super::names::{ANNOTATION_REATTACH, REATTACH_ALLOWED};

/// What is held of an org that is gone: by a tombstone, or by a namespace that nobody laid claim to yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// In words: `OrgTombstone acme-7c9e6679`.
    pub by: String,
    /// Name of the org.
    pub org: String,
    /// Its id.
    pub org_id: String,
    /// Name of the Region its data is in.
    pub region: String,
    /// The TrayOrg that asks has made it itself: its status was not written yet, or is lost.
    pub its_own: bool,
}

/// An org that wants to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking<'a> {
    /// Its name.
    pub name: &'a str,
    /// The orgId it asks for; none = it leaves that to the operator.
    pub org_id: Option<&'a str>,
    /// Name of the Region it asks for.
    pub region: &'a str,
    /// It may take up what an earlier org of its name left.
    pub allowed: bool,
}

/// Why an org cannot be placed as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReattachmentRefusal {
    /// Data of another orgId is held under its name.
    #[error(
        "data of an earlier org {org} is held ({by}): to take it up, set this line in spec: `orgId: {org_id}`; for a new org, use another name"
    )]
    RetainedData {
        /// Name of the org.
        org: String,
        /// What holds it.
        by: String,
        /// Whose it is.
        org_id: String,
    },
    /// Its data lies in another Region.
    #[error(
        "spec.regionRef: the data of org {org} is held in Region {held} ({by}) and cannot move to {wanted}: name {held}"
    )]
    RegionMismatch {
        /// Name of the org.
        org: String,
        /// What holds it.
        by: String,
        /// Where it is.
        held: String,
        /// What is asked for.
        wanted: String,
    },
    /// Its orgId is that of another name's data.
    #[error(
        "spec.orgId: {org_id} is held for org {org} ({by}): apply TrayOrg {org} to take it up, or give this one an orgId of its own"
    )]
    OtherName {
        /// Name it is held for.
        org: String,
        /// What holds it.
        by: String,
        /// The id.
        org_id: String,
    },
    /// Nobody who may has allowed it.
    #[error(
        "data of an earlier org {org} is held ({by}), and TrayOrg {org} is not allowed to take it up: an account that has \
         the verb reattach on it (ClusterRole tray-reattacher) allows it with `kubectl annotate trayorg {org} \
         {annotation}={allowed}`; for a new org, use another name",
        annotation = ANNOTATION_REATTACH,
        allowed = REATTACH_ALLOWED
    )]
    NotAllowed {
        /// Name of the org.
        org: String,
        /// What holds it.
        by: String,
    },
}

/// The orgId under which the org takes up what is `held` of it; none = it is new. Data is handed to its own orgId, or to
/// its own name where no orgId is asked for, and only in the Region that it lies in. What an earlier org left is handed to
/// one that is allowed to have it; what it has made itself is its own.
pub fn take_up<'a>(asking: Asking<'_>, held: &'a [Retained]) -> Result<Option<&'a str>, ReattachmentRefusal> {
    let by_id = held.iter().filter(|held| asking.org_id == Some(&held.org_id));
    for held in by_id.clone() {
        if held.org != asking.name {
            return Err(ReattachmentRefusal::OtherName {
                org: held.org.clone(),
                by: held.by.clone(),
                org_id: held.org_id.clone(),
            });
        }
        same_region(asking, held)?;
    }
    if let Some(first) = by_id.clone().next() {
        allowed(asking, by_id)?;
        return Ok(Some(&first.org_id));
    }
    let by_name: Vec<&Retained> = held.iter().filter(|held| held.org == asking.name).collect();
    let Some(first) = by_name.first() else {
        return Ok(None);
    };
    // Of two earlier orgs of that name nobody can say which one is meant.
    if asking.org_id.is_some() || by_name.iter().any(|held| held.org_id != first.org_id) {
        return Err(ReattachmentRefusal::RetainedData {
            org: first.org.clone(),
            by: first.by.clone(),
            org_id: first.org_id.clone(),
        });
    }
    for held in &by_name {
        same_region(asking, held)?;
    }
    allowed(asking, by_name.iter().copied())?;
    Ok(Some(&first.org_id))
}

fn allowed<'a>(
    asking: Asking<'_>,
    mut held: impl Iterator<Item = &'a Retained>,
) -> Result<(), ReattachmentRefusal> {
    match held.find(|held| !held.its_own) {
        Some(held) if !asking.allowed => Err(ReattachmentRefusal::NotAllowed {
            org: held.org.clone(),
            by: held.by.clone(),
        }),
        _ => Ok(()),
    }
}

fn same_region(asking: Asking<'_>, held: &Retained) -> Result<(), ReattachmentRefusal> {
    if held.region == asking.region {
        return Ok(());
    }
    Err(ReattachmentRefusal::RegionMismatch {
        org: held.org.clone(),
        by: held.by.clone(),
        held: held.region.clone(),
        wanted: asking.region.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    const OTHER: &str = "11111111-1111-4111-8111-111111111111";

    fn held(org: &str, org_id: &str, region: &str) -> Retained {
        Retained {
            by: format!("OrgTombstone {org}-{}", &org_id[..8]),
            org: org.into(),
            org_id: org_id.into(),
            region: region.into(),
            its_own: false,
        }
    }
    fn asking<'a>(name: &'a str, org_id: Option<&'a str>, region: &'a str) -> Asking<'a> {
        Asking {
            name,
            org_id,
            region,
            allowed: true,
        }
    }
    /// What becomes of an org that asks while data of org acme, `ID`, is held in eu.
    fn asked(name: &str, org_id: Option<&str>, region: &str) -> Result<Option<String>, String> {
        let held = [held("acme", ID, "eu"), held("other", OTHER, "us")];
        let answer = take_up(asking(name, org_id, region), &held);
        answer
            .map(|id| id.map(str::to_owned))
            .map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn an_org_gets_its_own_data_back_by_its_id_or_by_its_name() {
        assert_eq!(asked("acme", Some(ID), "eu"), Ok(Some(ID.into())));
        assert_eq!(asked("acme", None, "eu"), Ok(Some(ID.into())));
        assert_eq!(asked("new", None, "eu"), Ok(None));
        assert_eq!(
            asked("new", Some("22222222-2222-4222-8222-222222222222"), "eu"),
            Ok(None)
        );
        assert_eq!(take_up(asking("acme", None, "eu"), &[]), Ok(None));
    }

    #[test]
    fn a_tombstone_and_its_namespace_are_one() {
        let held = [held("acme", ID, "eu"), held("acme", ID, "eu")];
        assert_eq!(take_up(asking("acme", None, "eu"), &held), Ok(Some(ID)));
    }

    #[test]
    fn data_is_not_handed_to_another_id_and_the_line_to_add_is_told() {
        let refusal = asked("acme", Some("22222222-2222-4222-8222-222222222222"), "eu").unwrap_err();
        assert!(refusal.contains(&format!("`orgId: {ID}`")), "{refusal}");
        assert!(refusal.contains("OrgTombstone acme-7c9e6679"), "{refusal}");
        let two = [held("acme", ID, "eu"), held("acme", OTHER, "eu")];
        assert!(matches!(
            take_up(asking("acme", None, "eu"), &two),
            Err(ReattachmentRefusal::RetainedData { .. })
        ));
    }

    #[test]
    fn p1_data_is_not_handed_out_in_another_region() {
        for org_id in [Some(ID), None] {
            let refusal = asked("acme", org_id, "us").unwrap_err();
            assert!(
                refusal.contains("Region eu") && refusal.contains("move to us"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn p3_what_is_held_is_taken_up_by_nobody_who_is_not_allowed_to_whatever_he_knows_of_it() {
        let (left, own) = (held("acme", ID, "eu"), held("acme", ID, "eu"));
        let own = Retained {
            by: "Namespace org-acme-7c9e6679".into(),
            its_own: true,
            ..own
        };
        for (org_id, held, allowed, taken_up) in [
            (None, vec![], false, None),
            (Some(ID), vec![], false, None),
            // By its name, and by its id.
            (None, vec![left.clone()], false, Some(false)),
            (Some(ID), vec![left.clone()], false, Some(false)),
            (None, vec![left.clone()], true, Some(true)),
            (Some(ID), vec![left.clone()], true, Some(true)),
            // What it has made itself since it was created needs nobody's leave; what lies beside that does.
            (None, vec![own.clone()], false, Some(true)),
            (Some(ID), vec![own.clone()], false, Some(true)),
            (None, vec![own.clone(), left.clone()], false, Some(false)),
            (Some(ID), vec![own.clone(), left.clone()], false, Some(false)),
            (Some(ID), vec![own, left], true, Some(true)),
        ] {
            let asking = Asking {
                allowed,
                ..asking("acme", org_id, "eu")
            };
            let said = format!("{org_id:?} {held:?} {allowed}");
            match (take_up(asking, &held), taken_up) {
                (Ok(found), None) => assert_eq!(found, None, "{said}"),
                (Ok(found), Some(true)) => assert_eq!(found, Some(ID), "{said}"),
                (Err(refusal), Some(false)) => {
                    let message = refusal.to_string();
                    for part in [
                        "(OrgTombstone acme-7c9e6679)",
                        "verb reattach",
                        "tray-reattacher",
                        "`kubectl annotate trayorg acme platform.tray.ai/reattach=allowed`",
                    ] {
                        assert!(message.contains(part), "{said}: {message}");
                    }
                }
                (found, _) => panic!("{said}: {found:?}"),
            }
        }
    }

    #[test]
    fn p3_a_leave_is_for_its_own_name() {
        // Whoever is allowed to take up what is held of one name gets that of no other, whichever id he asks for.
        let held = [held("acme", ID, "eu")];
        let asked = |org_id| take_up(asking("mine", org_id, "eu"), &held);
        assert!(matches!(
            asked(Some(ID)),
            Err(ReattachmentRefusal::OtherName { .. })
        ));
        assert_eq!(asked(None), Ok(None));
    }

    #[test]
    fn an_id_that_is_held_belongs_to_its_own_name() {
        let refusal = asked("pretender", Some(ID), "eu").unwrap_err();
        assert!(
            refusal.contains("TrayOrg acme") && refusal.contains(ID),
            "{refusal}"
        );
    }
}
