//! The pods of the node and their containers, by uid and by container id. Bounded; what has ended stays for a while, so
//! that late records and the series that outlive it keep their labels. Reads no clock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::object::Pod;

/// How long what has ended is still known: twice as long as the series of an ended service stay.
const KEEP_ENDED: Duration = Duration::from_secs(600);
/// More than any kubelet runs; the ended count too.
const PODS: usize = 4096;
const CONTAINERS: usize = 16_384;

/// What is known of a pod.
#[derive(Debug)]
pub struct Known {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: Arc<[(String, String)]>,
    /// Ids of the containers that its status names now.
    containers: Vec<String>,
    /// The hash that names a static pod in its cgroup.
    config_hash: Option<String>,
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Place {
    uid: Arc<str>,
    name: Arc<str>,
    ended: Option<Instant>,
}

/// What a look-up finds.
#[derive(Debug)]
pub struct Match<'a> {
    pub uid: &'a Arc<str>,
    pub pod: &'a Known,
    pub container: Option<&'a Arc<str>>,
}

/// Pods and containers.
#[derive(Debug, Default)]
pub struct Table {
    pods: FxHashMap<Arc<str>, Known>,
    containers: FxHashMap<String, Place>,
    /// The uid of each static pod, by the hash that its cgroup is named by.
    hashes: FxHashMap<String, Arc<str>>,
}

impl Table {
    /// By container id, else by what the cgroup says is the pod's uid.
    pub fn find(&self, container_id: &str, cgroup_uid: Option<&str>) -> Option<Match<'_>> {
        if let Some(place) = self.containers.get(container_id)
            && let Some((uid, pod)) = self.pods.get_key_value(&place.uid)
        {
            return Some(Match { uid, pod, container: Some(&place.name) });
        }
        let uid = self.hashes.get(cgroup_uid?).map_or(cgroup_uid?, |uid| uid);
        self.pods.get_key_value(uid).map(|(uid, pod)| Match { uid, pod, container: None })
    }

    /// Pods that have not ended.
    pub fn living(&self) -> usize {
        self.pods.values().filter(|pod| pod.ended.is_none()).count()
    }

    /// A pod as its status is now; `labels` are those to be kept. False if there was no room for all of it.
    pub fn apply(&mut self, pod: Pod, labels: Vec<(String, String)>, now: Instant) -> bool {
        let uid: Arc<str> = pod.uid.into();
        if !self.pods.contains_key(&uid) && self.pods.len() >= PODS && !self.make_room() {
            return false;
        }
        let before = self.pods.remove(&uid);
        for id in before.iter().flat_map(|pod| &pod.containers) {
            if !pod.containers.iter().any(|(now, _)| now == id) {
                self.end_container(id, now);
            }
        }
        let mut known = Known {
            namespace: pod.namespace.into(),
            name: pod.name.into(),
            labels: labels.into(),
            containers: Vec::with_capacity(pod.containers.len()),
            config_hash: pod.config_hash,
            ended: None,
        };
        let mut fits = true;
        for (id, name) in pod.containers {
            if self.containers.contains_key(&id) || self.containers.len() < CONTAINERS {
                self.containers.insert(id.clone(), Place { uid: Arc::clone(&uid), name: name.into(), ended: None });
                known.containers.push(id);
            } else {
                fits = false;
            }
        }
        if let Some(hash) = &known.config_hash {
            self.hashes.insert(hash.clone(), Arc::clone(&uid));
        }
        self.pods.insert(uid, known);
        fits
    }

    /// A pod is gone.
    pub fn end(&mut self, uid: &str, now: Instant) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.ended = Some(now);
        for id in std::mem::take(&mut pod.containers) {
            self.end_container(&id, now);
        }
    }

    /// Ends all pods but these.
    pub fn keep(&mut self, listed: &FxHashSet<String>, now: Instant) {
        let is_gone = |(uid, pod): &(&Arc<str>, &Known)| pod.ended.is_none() && !listed.contains(&***uid);
        let gone: Vec<Arc<str>> = self.pods.iter().filter(is_gone).map(|(uid, _)| Arc::clone(uid)).collect();
        gone.iter().for_each(|uid| self.end(uid, now));
    }

    /// Forgets what ended long ago.
    pub fn prune(&mut self, now: Instant) {
        let stays = |ended: &Option<Instant>| ended.is_none_or(|at| now.saturating_duration_since(at) < KEEP_ENDED);
        self.containers.retain(|_, place| stays(&place.ended));
        self.pods.retain(|_, pod| stays(&pod.ended));
        let Self { pods, hashes, .. } = self;
        hashes.retain(|_, uid| pods.contains_key(uid));
    }

    fn end_container(&mut self, id: &str, now: Instant) {
        if let Some(place) = self.containers.get_mut(id) {
            place.ended = Some(now);
        }
    }

    /// Forgets the pod that ended first; false if none has.
    fn make_room(&mut self) -> bool {
        let oldest = self.pods.iter().filter_map(|(uid, pod)| Some((pod.ended?, Arc::clone(uid)))).min();
        let Some((_, uid)) = oldest else { return false };
        self.containers.retain(|_, place| place.uid != uid);
        self.hashes.retain(|_, of| *of != uid);
        self.pods.remove(&uid).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, containers: &[(&str, &str)]) -> Pod {
        Pod {
            uid: uid.to_owned(),
            namespace: "llm".to_owned(),
            name: format!("pod-{uid}"),
            containers: containers.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect(),
            ..Pod::default()
        }
    }

    fn found<'a>(table: &'a Table, id: &str, uid: Option<&str>) -> Option<(&'a str, Option<&'a str>)> {
        table.find(id, uid).map(|found| (&*found.pod.name, found.container.map(|name| &**name)))
    }

    #[test]
    fn a_container_is_found_by_its_id_and_else_by_its_pod() {
        let (mut table, now) = (Table::default(), Instant::now());
        assert!(table.apply(pod("u1", &[]), Vec::new(), now));
        assert_eq!(found(&table, "c1", Some("u1")), Some(("pod-u1", None)), "its status does not name it yet");
        assert_eq!(found(&table, "c1", None), None);
        table.apply(pod("u1", &[("c1", "vllm")]), Vec::new(), now);
        assert_eq!(found(&table, "c1", None), Some(("pod-u1", Some("vllm"))));
        assert_eq!(found(&table, "c2", Some("u2")), None);
    }

    #[test]
    fn a_static_pod_is_found_by_its_hash() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.apply(Pod { config_hash: Some("h".to_owned()), ..pod("u1", &[]) }, Vec::new(), now);
        assert_eq!(found(&table, "c1", Some("h")), Some(("pod-u1", None)));
    }

    #[test]
    fn what_has_ended_is_known_for_a_while() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.apply(pod("u1", &[("c1", "vllm")]), Vec::new(), now);
        // The container was restarted.
        table.apply(pod("u1", &[("c2", "vllm")]), Vec::new(), now);
        assert_eq!(found(&table, "c1", None), Some(("pod-u1", Some("vllm"))));
        table.prune(now + KEEP_ENDED);
        assert_eq!((found(&table, "c1", None), table.containers.len()), (None, 1));
        table.end("u1", now);
        assert_eq!((table.living(), found(&table, "c2", None)), (0, Some(("pod-u1", Some("vllm")))));
        table.prune(now + KEEP_ENDED);
        assert_eq!((found(&table, "c2", Some("u1")), table.pods.len(), table.containers.len()), (None, 0, 0));
    }

    #[test]
    fn what_a_list_lacks_has_ended() {
        let (mut table, now) = (Table::default(), Instant::now());
        ["u1", "u2"].iter().for_each(|uid| assert!(table.apply(pod(uid, &[]), Vec::new(), now)));
        table.keep(&["u2".to_owned()].into_iter().collect(), now);
        assert_eq!((table.living(), table.pods["u1"].ended), (1, Some(now)));
        // It ended then, whatever is listed later.
        table.keep(&FxHashSet::default(), now + KEEP_ENDED);
        assert_eq!(table.pods["u1"].ended, Some(now));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (mut table, now) = (Table::default(), Instant::now());
        for number in 0..PODS {
            let id = format!("c{number}");
            assert!(table.apply(pod(&format!("u{number}"), &[(&id, "c")]), Vec::new(), now));
        }
        assert!(!table.apply(pod("one more", &[]), Vec::new(), now));
        table.end("u7", now);
        assert!(table.apply(pod("one more", &[]), Vec::new(), now));
        assert_eq!((table.pods.len(), table.containers.len(), found(&table, "c7", None)), (PODS, PODS - 1, None));
        let many: Vec<(String, String)> = (0..CONTAINERS).map(|n| (format!("m{n}"), "c".to_owned())).collect();
        assert!(!table.apply(Pod { containers: many, ..pod("u1", &[]) }, Vec::new(), now));
        assert_eq!(table.containers.len(), CONTAINERS);
    }
}
