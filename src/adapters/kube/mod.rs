//! Kubernetes.

pub mod apply;
pub mod child;
pub mod children;
pub mod client;
mod compact;
pub mod compare;
pub mod events;
pub mod exec;
pub mod facts;
pub mod fights;
pub mod index;
pub mod leader;
pub mod live;
pub mod mover_jobs;
pub mod namespace_objects;
pub mod own_objects;
pub mod pods;
pub mod records;
pub mod release;
pub mod repository_lock;
pub mod served;
pub mod status;
pub mod table;
pub mod watch;
pub mod webhook_secret;
