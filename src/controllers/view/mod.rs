//! What is seen of orgs and Regions: pure functions over the index, the board and the API's objects.
//!
//! Every controller reads it, and none imports another: what two of them have to know stands here, or on the board of
//! [`board`](super::board), where one writes it.

pub mod backup_place;
pub mod backups;
pub mod identity;
pub mod org;
pub mod region;
pub mod schedule;
pub mod subject;
pub mod support;
