//! Places, names and homes of services.

use super::*;
use crate::discover::{Evidence, Process};

fn found(pid: u32, service: &str) -> Found {
    let process = Process {
        pid,
        ppid: 1,
        start_ticks: 7,
        comm: String::new(),
        exe: None,
        exe_deleted: false,
        argv: Vec::new(),
        container: None,
        systemd_unit: None,
    };
    Found {
        service: service.to_owned(),
        wanted: service.to_owned(),
        engine: "vllm",
        evidence: Evidence::Program,
        version: None,
        model: None,
        ports: Vec::new(),
        unix_sockets: Vec::new(),
        process,
        children: Vec::new(),
        dialect: None,
    }
}

/// A pid that no process has.
const NONE: u32 = u32::MAX - 7;

#[test]
fn a_child_tells_nothing_of_its_service_while_the_root_runs() {
    let me = Process::read(Path::new("/proc"), std::process::id()).unwrap();
    let mut registry = Registry::new(4, None);
    let index = registry.add(Found { process: me.clone(), ..found(1, "parent") }).unwrap();
    registry.add_process(index, me.pid);
    registry.add_process(index, NONE);
    assert_eq!(registry.place_of(NONE), Some(index));
    registry.update(index, Found { model: Some("m".to_owned()), ..found(NONE, "child") });
    let entry = registry.entry(index).unwrap();
    assert_eq!((entry.found.process.pid, &entry.found.model), (me.pid, &None));
    registry.update(index, Found { process: me.clone(), ports: vec![8000], ..found(1, "parent") });
    assert_eq!(registry.entry(index).unwrap().found.ports, [8000]);
    assert!(registry.take_orphans().is_empty());
    // Its id is another process' by now.
    let ended = Process { start_ticks: 1, ..me.clone() };
    registry.update(index, Found { process: ended, ..found(1, "parent") });
    registry.remove_process(me.pid, 0);
    assert_eq!(registry.take_orphans(), [NONE]);
    registry.update(index, Found { model: Some("m".to_owned()), ..found(NONE, "child") });
    let entry = registry.entry(index).unwrap();
    assert_eq!((entry.found.process.pid, entry.found.model.as_deref()), (NONE, Some("m")));
    assert_eq!(entry.found.service, "parent", "the series stay");
}

#[test]
fn places_are_given_back() {
    let mut registry = Registry::new(3, None);
    let (a, b) = (registry.add(found(11, "a")).unwrap(), registry.add(found(12, "b")).unwrap());
    assert_eq!((a, b, registry.add(found(13, "c"))), (1, 2, None));
    assert_eq!(registry.place_of(12), Some(b), "though none of its processes is watched");
    registry.add_process(a, 11);
    assert!(!registry.withdraw_empty(a, 0) && registry.withdraw_empty(b, 0));
    assert_eq!(registry.place_of(12), None);
    assert_eq!(registry.add(found(13, "c")), Some(b));
    registry.add_process(b, 13);
    registry.add_process(b, 14);
    assert_eq!(registry.processes(b), [13, 14]);
    registry.let_go(b, 5);
    assert_eq!((registry.service_of(13), registry.service_of(14), registry.rooted_at(13)), (None, None, None));
    assert_eq!(registry.name(b), Some(("c", "vllm")), "for what ends with it");
    let names: Vec<String> = registry.take_table().unwrap().iter().map(|view| view.name.clone()).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(registry.take_expired(6 + KEEP_ENDED_NS), ["b", "c"]);
}

#[test]
fn the_home_of_a_service_outlives_it_as_its_series_do() {
    let mut registry = Registry::new(4, Some(crate::identity::tests::known(&[])));
    let container = Container { id: "c0".to_owned(), runtime: "containerd", pod_uid: None };
    let process = Process { container: Some(container.clone()), ..found(NONE, "chat").process };
    let index = registry.add(Found { process, ..found(NONE, "chat") }).unwrap();
    registry.add_process(index, NONE);
    let named = |registry: &Registry| registry.home(index).pod;
    assert_eq!(named(&registry).as_deref(), Some("vllm-0"));
    let home = Belongs { container: Some(container), group: None };
    assert_eq!(registry.homes()["chat"], home);
    registry.remove_process(NONE, 0);
    assert_eq!(named(&registry).as_deref(), Some("vllm-0"), "for what ends with it");
    assert_eq!(registry.homes()["chat"], home);
    registry.take_table();
    assert_eq!(registry.take_expired(1 + KEEP_ENDED_NS), ["chat"]);
    assert!(registry.homes().is_empty() && registry.take_table().is_some(), "which is published");
}

#[test]
fn a_name_that_is_used_again_does_not_give_its_series_to_another_pod() {
    let mut registry = Registry::new(4, None);
    let in_pod = |pid: u32, pod: Option<&str>| {
        let container =
            |pod: &str| Container { id: pod.repeat(8), runtime: "containerd", pod_uid: Some(pod.to_owned()) };
        Found { process: Process { container: pod.map(container), ..found(pid, "chat").process }, ..found(pid, "chat") }
    };
    let mut runs = |pod: Option<&str>| {
        let index = registry.add(in_pod(NONE, pod)).unwrap();
        registry.add_process(index, NONE);
        let replaced = registry.take_replaced();
        registry.remove_process(NONE, 0);
        replaced
    };
    assert!(runs(Some("a")).is_empty());
    assert!(runs(Some("a")).is_empty(), "a container of the same pod began again");
    assert_eq!(runs(Some("b")), ["chat"]);
    assert_eq!(runs(None), ["chat"]);
    assert!(runs(None).is_empty(), "outside of Kubernetes the series go on");
}

#[test]
fn series_of_a_replica_say_what_it_is_one_of() {
    let mut registry = Registry::new(5, None);
    let replica = Found { wanted: "chat".to_owned(), ..found(2, "chat-8000") };
    for found in [found(1, "chat"), replica, found(3, "chat")] {
        let pid = found.process.pid;
        let index = registry.add(found).unwrap();
        registry.add_process(index, pid);
        // Discovery looks again; the name stays.
        registry.update(index, Found { wanted: "other".to_owned(), ..self::found(pid, "other") });
    }
    let group = |registry: &Registry, name: &str| registry.homes().remove(name).and_then(|belongs| belongs.group);
    assert_eq!(group(&registry, "chat"), None);
    assert_eq!(group(&registry, "chat-8000").as_deref(), Some("chat"));
    assert_eq!(group(&registry, "chat-2").as_deref(), Some("chat"), "the registry made it unique");
    registry.remove_process(2, 0);
    assert_eq!(group(&registry, "chat-8000").as_deref(), Some("chat"), "while its series stay");
}
