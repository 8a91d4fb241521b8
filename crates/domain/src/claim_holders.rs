//! Which pods keep a claim from being replaced, and what is done about each. Pure.
//!
//! Kubernetes lets a claim go only when no pod names it any more, not even one that has ended long ago.

use super::ids::PartId;

/// Whose a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodOf {
    /// Of a workload of the org: the TrayOrg controller takes it down.
    Workload,
    /// A mover: it goes with its Job.
    Mover,
    /// Somebody else's: made by hand, or by a controller of the org's own.
    Other,
}

/// A pod in the org's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingPod<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// The claims that it names.
    pub claims: &'a [String],
    /// Whose it is.
    pub of: PodOf,
    /// Succeeded or Failed.
    pub has_ended: bool,
    /// On its way out.
    pub deleting: bool,
}

/// A pod that has ended and still keeps a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What keeps some claims from going.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Pods of others that use a claim, or are about to: `<pod> (<claim>)`. A person decides over them, so they are named, and
    /// nothing is stopped while there are any.
    pub living: Vec<String>,
    /// Pods that have ended, whosever they are: they use nothing and hold all the same, so they are removed once the org
    /// stands still.
    pub finished: Vec<FinishedPod>,
    /// Pods of others that are on their way out: they are waited for, and named.
    pub going: Vec<String>,
}

/// What keeps these claims from going. Pods of the org's own workloads that live are not among it: they are taken down, and
/// waited for, before any claim is removed. Movers are not, either.
pub fn holders(pods: &[NamingPod<'_>], claims: &[PartId]) -> Holders {
    let mut holders = Holders::default();
    for pod in pods.iter().filter(|pod| pod.of != PodOf::Mover) {
        let mut named = pod.claims.iter();
        let Some(claim) = named.find(|name| claims.iter().any(|claim| claim.as_str() == *name)) else {
            continue;
        };
        let said = format!("{} ({claim})", pod.name);
        match (pod.has_ended, pod.deleting, pod.of) {
            (true, false, _) => holders.finished.push(FinishedPod {
                name: pod.name.to_owned(),
                uid: pod.uid.to_owned(),
            }),
            (_, true, PodOf::Other) | (true, true, _) => holders.going.push(said),
            (false, false, PodOf::Other) => holders.living.push(said),
            (false, _, _) => {}
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_removed_what_lives_is_named_and_what_holds_nothing_is_left_alone() {
        let (held, elsewhere) = (
            ["logs".to_owned(), "data-web-0".to_owned()],
            ["data-db-0".to_owned()],
        );
        let claims: Vec<PartId> = vec!["data-web-0".parse().unwrap()];
        let pod = |of, has_ended, deleting, claims| NamingPod {
            name: "p",
            uid: "u",
            claims,
            of,
            has_ended,
            deleting,
        };
        let named = || vec!["p (data-web-0)".to_owned()];
        let finished = vec![FinishedPod {
            name: "p".into(),
            uid: "u".into(),
        }];
        let nothing = Holders::default();
        let living = Holders {
            living: named(),
            ..Holders::default()
        };
        let going = Holders {
            going: named(),
            ..Holders::default()
        };
        let finished = Holders {
            finished,
            ..Holders::default()
        };
        for (pod, want) in [
            (pod(PodOf::Other, false, false, &held[..]), &living),
            (pod(PodOf::Other, true, false, &held), &finished),
            (pod(PodOf::Other, false, true, &held), &going),
            (pod(PodOf::Other, true, true, &held), &going),
            (pod(PodOf::Other, false, false, &elsewhere), &nothing),
            (pod(PodOf::Other, true, false, &elsewhere), &nothing),
            (pod(PodOf::Other, true, false, &[]), &nothing),
            (pod(PodOf::Workload, false, false, &held), &nothing),
            (pod(PodOf::Workload, false, true, &held), &nothing),
            (pod(PodOf::Workload, true, false, &held), &finished),
            (pod(PodOf::Mover, false, false, &held), &nothing),
            (pod(PodOf::Mover, true, false, &held), &nothing),
        ] {
            assert_eq!(&holders(std::slice::from_ref(&pod), &claims), want, "{pod:?}");
        }
        assert_eq!(holders(&[pod(PodOf::Other, false, false, &held)], &[]), nothing);
    }
}
