//! Reads and writes of the demo against the API server, through `kubectl` as a person would use it.

use std::time::Duration;

use serde_json::Value;

use super::support;
use crate::{
    Cluster,
    error::{Error, Result},
    paths::ClusterDir,
    process::Program,
    wait,
};

/// `kubectl` against the local cluster.
#[derive(Debug, Clone)]
pub struct Kube {
    kubectl: Program,
    /// The same as a member of the support staff.
    support: Program,
    dir: ClusterDir,
}

impl Kube {
    /// As the administrator of `cluster`; what is run in pods is run by support.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            kubectl: cluster.kubectl::<&str>([]),
            support: support::kubectl(cluster, "sam", support::GROUP)?,
            dir: cluster.dir().clone(),
        })
    }

    /// Runs it and returns what it printed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.kubectl.clone().args(args).run()
    }

    /// As support: a program, to be fed or watched.
    pub fn support(&self, args: &[&str]) -> Program {
        self.support.clone().args(args)
    }

    /// Creates one object and returns it.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let text = self
            .kubectl
            .clone()
            .args(["create", "-o", "json", "-f", "-"])
            .input(object.to_string())
            .run()?;
        parse("kubectl create", &text)
    }

    /// An object or a list, as JSON.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let text = self
            .kubectl
            .clone()
            .arg("get")
            .args(args)
            .args(["-o", "json"])
            .run()?;
        parse("kubectl get", &text)
    }

    /// The items of a list.
    pub fn list(&self, args: &[&str]) -> Result<Vec<Value>> {
        let mut list = self.get(args)?;
        Ok(list
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Awaits a condition of an object; `what` says what did not happen otherwise.
    pub fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        args: &[&str],
        mut condition: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        wait::until(what, deadline, &self.dir.logs(), || {
            // Not there yet is not a failure.
            Ok(self.get(args).ok().and_then(|object| condition(&object)))
        })
    }

    /// The folder on the node behind a claim.
    pub fn folder_of(&self, namespace: &str, claim: &str) -> Result<String> {
        let claim = self.get(&["pvc", claim, "-n", namespace])?;
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        let volume = self.get(&["pv", volume])?;
        let path = volume["spec"]["local"]["path"].as_str();
        Ok(path.unwrap_or_default().to_owned())
    }

    /// Runs a command in a pod, as support: the org has to have let it in.
    pub fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<String> {
        self.support
            .clone()
            .args(["exec", "-n", namespace, pod, "--"])
            .args(command)
            .run()
    }
}

fn parse(what: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(Error::unexpected(what))
}

/// A condition of an object: `status`, `reason` and `message`.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// Whether a condition is there and its status is that: `True`, `False` or `Unknown`.
pub fn has_condition(object: &Value, type_: &str, status: &str) -> bool {
    condition(object, type_).is_some_and(|condition| condition["status"] == status)
}

/// What a condition says; nothing where it is not there.
pub fn said<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition(object, type_)
        .and_then(|condition| condition["message"].as_str())
        .unwrap_or_default()
}
