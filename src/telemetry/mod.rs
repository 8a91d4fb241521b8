//! Logs, metrics, and the server of `/livez`, `/readyz` and `/metrics`.

pub mod metrics;
