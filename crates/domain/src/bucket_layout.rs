//! Where things lie in the backup bucket. The layout is an interface: erasure, evidence and other versions rely on it.
//!
//! ```text
//! <prefix>v1/ledger/<orgId>/<seq, 10 digits>.json
//! <prefix>v1/orgs/<orgId>/key/0001.json
//! <prefix>v1/orgs/<orgId>/runs/<runId>/parts/<part>/<podUid>.json     .failure
//! <prefix>v1/orgs/<orgId>/objects/<runId>.tray
//! <prefix>v1/orgs/<orgId>/repo/<volumeId>/…
//! ```

use super::ids::{OrgId, PartId, RunId};

/// Folder of an org's ledger, ends in `/`.
pub fn ledger_prefix(prefix: &str, org: &OrgId) -> String {
    format!("{prefix}v1/ledger/{org}/")
}
/// One entry of an org's ledger.
pub fn ledger_entry(prefix: &str, org: &OrgId, seq: u64) -> String {
    format!("{}{seq:010}.json", ledger_prefix(prefix, org))
}
/// Everything of an org that its own key encrypts, ends in `/`.
pub fn org_prefix(prefix: &str, org: &OrgId) -> String {
    format!("{prefix}v1/orgs/{org}/")
}
/// The wrapped master key, version 1.
pub fn wrapped_key(prefix: &str, org: &OrgId) -> String {
    format!("{}key/0001.json", org_prefix(prefix, org))
}
/// Folder of what the pods of all runs say of themselves, ends in `/`.
pub fn runs(prefix: &str, org: &OrgId) -> String {
    format!("{}runs/", org_prefix(prefix, org))
}
/// Folder of what the pods of one run say of themselves, ends in `/`.
pub fn run(prefix: &str, org: &OrgId, run: &RunId) -> String {
    format!("{}{run}/", runs(prefix, org))
}
/// Folder of what the pods of one part say of themselves, ends in `/`.
pub fn part_records(prefix: &str, org: &OrgId, run: &RunId, part: &PartId) -> String {
    format!("{}parts/{part}/", self::run(prefix, org, run))
}
/// What one pod says of the part it copied.
pub fn part_record(prefix: &str, org: &OrgId, run: &RunId, part: &PartId, pod_uid: &str) -> String {
    format!("{}{pod_uid}.json", part_records(prefix, org, run, part))
}
/// Why the pod of a part failed, in all detail.
pub fn part_failure(prefix: &str, org: &OrgId, run: &RunId, part: &PartId, pod_uid: &str) -> String {
    format!("{}{pod_uid}.failure", part_records(prefix, org, run, part))
}
/// The archive of the Kubernetes objects of one run.
pub fn objects_archive(prefix: &str, org: &OrgId, run: &RunId) -> String {
    format!("{}{run}.tray", objects_archives(prefix, org))
}
/// Folder of the archives of Kubernetes objects, ends in `/`.
pub fn objects_archives(prefix: &str, org: &OrgId) -> String {
    format!("{}objects/", org_prefix(prefix, org))
}
/// Folder of the repository of one volume, ends in `/`.
pub fn volume_repository(prefix: &str, org: &OrgId, volume: &PartId) -> String {
    format!("{}repo/{volume}/", org_prefix(prefix, org))
}
