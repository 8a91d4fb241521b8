//! Who of support is in.

use jiff::Timestamp;
use tray_api::conditions::types;
use tray_domain::support::Role;

use super::world::{World, fact};
use crate::controllers::{
    conditions::{find, is_true},
    view::support::OpenGrant,
};

#[test]
fn p17_the_status_says_who_of_support_is_in_and_until_when() {
    let mut world = World::placed();
    let nobody = world.status(&fact(true, "AsSpecified"));
    assert!(!is_true(&nobody.conditions, types::SUPPORT_ACCESS_ACTIVE));
    assert!(nobody.support_access.is_empty());

    let until: Timestamp = "2026-01-05T14:00:00Z".parse().unwrap();
    let grant = |number: usize| OpenGrant {
        name: format!("ticket-{number}"),
        role: Role::Debug,
        groups: vec!["support".to_owned()],
        until,
    };
    world.support.bound = (0..60).map(grant).collect();
    let status = world.status(&fact(true, "AsSpecified"));
    let active = find(&status.conditions, types::SUPPORT_ACCESS_ACTIVE).unwrap();
    assert_eq!(active.status, "True");
    let told = "support may Debug until 2026-01-05T14:00:00Z (ticket-0)";
    assert!(active.message.contains(told), "{}", active.message);
    assert_eq!(status.support_access.len(), 50);
    assert_eq!(status.support_access[0].until.0, until);
}
