//! What a pod needs of its cluster: the node's name, an API server that lists and watches pods for this account, the
//! kubelet's socket, the host's control groups. The questions are real ones; each is one function from an answer to a
//! finding.

use std::path::Path;

use super::report::Finding;
use crate::identity::{Answers, Failure, Kind};

/// What was asked and answered.
#[derive(Debug)]
pub enum Pod {
    /// Nothing says that this is one.
    No,
    /// `kubernetes.enabled` is false.
    Off,
    /// It is one, and the agent would not know where it is: why.
    Unsettled(String),
    Asked {
        node: String,
        /// `HOST:PORT` of the API server.
        api: String,
        answers: Answers,
        /// Where the host's control groups should be.
        cgroups: std::path::PathBuf,
    },
}

impl Pod {
    /// Of Kubernetes; all names begin so.
    pub fn findings(&self) -> Vec<Finding> {
        match self {
            Pod::No => vec![Finding::ok("kubernetes", "not in a pod: containers are known by their ids alone")],
            Pod::Off => vec![Finding::ok("kubernetes", "switched off: containers are known by their ids alone")],
            Pod::Unsettled(why) => vec![
                Finding::missing("kubernetes", format!("no names of pods: {why}"))
                    .next("the chart sets NODE_NAME from spec.nodeName (fieldRef); see the README's Kubernetes"),
            ],
            Pod::Asked { node, api, answers, cgroups } => vec![
                Finding::ok("kubernetes", format!("in a pod on node {node}")),
                list(api, answers),
                watch(answers),
                pod_resources(answers),
                host_cgroups(cgroups),
            ],
        }
    }
}

fn list(api: &str, answers: &Answers) -> Finding {
    match &answers.list {
        Ok(pods) => Finding::ok("kubernetes pods", format!("{api} tells of {pods} on this node")),
        Err(failure) => refused("kubernetes pods", "no names of pods", failure),
    }
}

fn watch(answers: &Answers) -> Finding {
    match &answers.watch {
        Ok(()) => Finding::ok("kubernetes watch", "pods may be watched"),
        Err(failure) => refused("kubernetes watch", "no names of pods that start later", failure),
    }
}

fn pod_resources(answers: &Answers) -> Finding {
    let name = "kubernetes pod resources";
    match &answers.pod_resources {
        Ok(uses) => Finding::ok(name, format!("the kubelet tells which containers have GPUs: {uses} now")),
        Err(failure) => Finding::degraded(name, format!("no GPUs by container: {}", failure.why))
            .next("mount the kubelet's folder (podResources.hostPath of the chart); without GPUs there is no need"),
    }
}

fn host_cgroups(mount: &Path) -> Finding {
    let name = "kubernetes control groups";
    let there = ["cgroup.controllers", "unified", "memory", "cpu"].iter().any(|file| mount.join(file).exists());
    if there {
        return Finding::ok(name, format!("the host's are at {}", mount.display()));
    }
    Finding::degraded(name, format!("nothing at {}: no limits and no throttling of the servers", mount.display()))
        .next("mount the host's /sys/fs/cgroup there, read-only (cgroups.enabled of the chart)")
}

fn refused(name: &str, lost: &str, failure: &Failure) -> Finding {
    let step = match failure.kind {
        Kind::Forbidden => {
            "let the service account get, list and watch pods: ClusterRole and binding (rbac.create of the chart)"
        }
        Kind::Unauthorized => "the token is not taken: is the pod's service account there still?",
        Kind::Account => "mount the service account's token (automountServiceAccountToken: true)",
        Kind::Connect | Kind::Timeout => {
            "does a NetworkPolicy, a proxy or a firewall keep the pod from the API server?"
        }
        _ => "see the API server's log; inferscope asks again while it runs",
    };
    Finding::missing(name, format!("{lost}: {}", failure.why)).next(step)
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    fn asked(answers: Answers, cgroups: &Path) -> Vec<Finding> {
        let pod = Pod::Asked { node: "n1".into(), api: "10.0.0.1:443".into(), answers, cgroups: cgroups.to_owned() };
        pod.findings()
    }

    #[test]
    fn a_pod_with_everything_lacks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cgroup.controllers"), "").unwrap();
        let findings = asked(Answers { list: Ok(3), watch: Ok(()), pod_resources: Ok(1) }, folder.path());
        assert!(findings.iter().all(|finding| finding.status == Status::Ok && !finding.required), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.name.starts_with("kubernetes")));
        assert_eq!(findings[1].detail, "10.0.0.1:443 tells of 3 on this node");
    }

    #[test]
    fn what_is_refused_says_what_is_lost_and_what_to_do() {
        let failure = |kind| Failure::new(kind, "it answers 403 Forbidden");
        for (kind, step) in [
            (Kind::Forbidden, "ClusterRole"),
            (Kind::Unauthorized, "token"),
            (Kind::Account, "automountServiceAccountToken"),
            (Kind::Timeout, "NetworkPolicy"),
            (Kind::Server, "log"),
        ] {
            let (list, watch) = (Err(failure(kind)), Err(failure(kind)));
            let pod_resources = Err(failure(Kind::Connect));
            let findings = asked(Answers { list, watch, pod_resources }, Path::new("/nonexistent"));
            let statuses: Vec<Status> = findings.iter().map(|finding| finding.status).collect();
            let (lost, less) = (Status::Missing, Status::Degraded);
            assert_eq!(statuses, [Status::Ok, lost, lost, less, less], "{kind:?}");
            assert!(findings[1].detail.starts_with("no names of pods: it answers 403"));
            assert!(findings[1].next_step.as_ref().is_some_and(|text| text.contains(step)), "{kind:?}");
            assert!(findings.iter().all(|finding| !finding.blocks()), "requests are watched all the same");
        }
    }

    #[test]
    fn elsewhere_one_line_is_enough() {
        for (pod, status) in
            [(Pod::No, Status::Ok), (Pod::Off, Status::Ok), (Pod::Unsettled("no NODE_NAME".into()), Status::Missing)]
        {
            let findings = pod.findings();
            assert_eq!((findings.len(), findings[0].status), (1, status));
        }
    }
}
