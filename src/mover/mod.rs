//! The data plane, run as Jobs: copies, proves, gives back and prunes one part of one org. It knows ports and domain,
//! never controllers.

pub mod archive;
pub mod keys;
pub mod outcome;
