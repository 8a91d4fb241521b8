//! What is seen of orgs and Regions: pure functions over the index, the board and the API's objects.
//!
//! Controllers do not import each other. What several of them derive from the index is here; what one finds out and another
//! needs is on the [board](super::board).

pub mod acknowledgements;
pub mod backup_place;
pub mod backups;
pub mod identity;
pub mod movers;
pub mod org;
pub mod region;
pub mod rest;
pub mod schedule;
pub mod subject;
pub mod support;
