//! Logs, metrics, and the server of `/livez`, `/readyz` and `/metrics`.

pub mod logs;
pub mod metrics;
pub mod readiness;
pub mod requests;
pub mod server;
