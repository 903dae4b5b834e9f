//! Trees like those of each version, and the running system's own.

use super::*;

/// Writes files below a new folder: `sys/...` and `proc/...`.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroups) {
    let root = tempfile::tempdir().expect("temporary folder");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below root")).expect("folder");
        std::fs::write(path, text).expect("file");
    }
    let groups = Cgroups::at(root.path().join("sys"), root.path().join("proc"));
    (root, groups)
}

const PSI: &str = "some avg10=10.00 avg60=0.00 avg300=0.00 total=1000000\n";

#[test]
fn v2_limits_are_the_tightest_on_the_way_up() {
    let (_root, groups) = tree(&[
        ("sys/cgroup.controllers", "cpu memory"),
        ("sys/cpu.stat", "usage_usec 1"),
        ("sys/pod/cpu.max", "150000 100000"),
        ("sys/pod/cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_usec 2500000\n"),
        ("sys/pod/memory.max", "1000"),
        ("sys/pod/memory.high", "max"),
        ("sys/pod/box/cpu.max", "max 100000"),
        ("sys/pod/box/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
        ("sys/pod/box/memory.current", "700"),
        ("sys/pod/box/memory.max", "2000"),
        ("sys/pod/box/memory.high", "900"),
        ("sys/pod/box/memory.events", "low 0\nhigh 3\nmax 2\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ("sys/pod/box/cpu.pressure", PSI),
        ("proc/7/cgroup", "0::/pod/box\n"),
        ("proc/pressure/io", PSI),
    ]);
    assert_eq!(groups.version(), CgroupVersion::V2);
    let paths = groups.of(7).expect("readable").expect("there");
    assert_eq!(paths.name, "/pod/box");
    let reading = groups.read(&paths);
    let cpu = reading.cpu.expect("cpu");
    assert!((cpu.cpus().expect("a limit") - 1.5).abs() < 1e-9);
    assert_eq!((cpu.throttled_periods, cpu.throttled_seconds), (4, 2.5));
    let want = MemoryReading {
        current_bytes: 700,
        max_bytes: Some(1000),
        high_bytes: Some(900),
        oom_events: Some(2),
        oom_kills: Some(1),
    };
    assert_eq!(reading.memory, Some(want));
    assert_eq!(reading.pressure.cpu.map(|cpu| cpu.some.avg10), Some(0.1));
    assert_eq!((reading.pressure.memory, reading.pressure.io), (None, None));
    assert_eq!(groups.host_pressure().io.map(|io| io.some.total_seconds), Some(1.0));
}

#[test]
fn v2_without_limits_tells_its_own_counters() {
    let (_root, groups) = tree(&[
        ("sys/cgroup.controllers", ""),
        ("sys/a/cpu.max", "max 100000"),
        ("sys/a/cpu.stat", "nr_periods 0\n"),
        ("proc/7/cgroup", "0::/a\n"),
    ]);
    let reading = groups.read(&groups.of(7).expect("readable").expect("there"));
    assert_eq!(reading.cpu.expect("cpu").cpus(), None);
    assert_eq!(reading.memory, None, "no memory controller");
}

#[test]
fn v1_names_its_files_and_units_otherwise() {
    let (_root, groups) = tree(&[
        ("sys/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ("sys/cpu,cpuacct/cpu.cfs_quota_us", "-1"),
        ("sys/cpu,cpuacct/docker/a/cpu.cfs_period_us", "50000"),
        ("sys/cpu,cpuacct/docker/a/cpu.cfs_quota_us", "100000"),
        ("sys/cpu,cpuacct/docker/a/cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 3000000000\n"),
        ("sys/memory/memory.limit_in_bytes", "9223372036854771712"),
        ("sys/memory/docker/a/memory.limit_in_bytes", "4096"),
        ("sys/memory/docker/a/memory.usage_in_bytes", "1024"),
        ("sys/memory/docker/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n"),
        ("proc/7/cgroup", "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n"),
        ("proc/8/cgroup", "5:memory:/\n4:cpu,cpuacct:/gone\n"),
    ]);
    assert_eq!(groups.version(), CgroupVersion::V1);
    let paths = groups.of(7).expect("readable").expect("there");
    assert_eq!(paths.name, "/docker/a");
    let reading = groups.read(&paths);
    let cpu = reading.cpu.expect("cpu");
    assert_eq!((cpu.cpus(), cpu.throttled_periods, cpu.throttled_seconds), (Some(2.0), 2, 3.0));
    let memory = reading.memory.expect("memory");
    assert_eq!((memory.current_bytes, memory.max_bytes, memory.oom_kills), (1024, Some(4096), Some(6)));
    assert_eq!(reading.pressure, Pressure::default());
    assert_eq!(groups.read(&groups.of(8).expect("readable").expect("there")), CgroupReading::default());
}

#[test]
fn hybrid_takes_limits_from_v1_and_pressure_from_v2() {
    let (_root, groups) = tree(&[
        ("sys/unified/cgroup.controllers", ""),
        ("sys/unified/u/cpu.pressure", PSI),
        ("sys/memory/m/memory.usage_in_bytes", "5"),
        ("sys/memory/m/memory.limit_in_bytes", "9223372036854771712"),
        ("proc/7/cgroup", "4:memory:/m\n0::/u\n"),
        ("proc/8/cgroup", "4:memory:/m\n0::/\n"),
    ]);
    assert_eq!(groups.version(), CgroupVersion::Hybrid);
    let paths = groups.of(7).expect("readable").expect("there");
    let reading = groups.read(&paths);
    assert_eq!(paths.name, "/u");
    assert_eq!(reading.memory.map(|memory| (memory.current_bytes, memory.max_bytes)), Some((5, None)));
    assert!(reading.pressure.cpu.is_some());
    assert_eq!(groups.of(8).expect("readable").expect("there").name, "/m");
}

#[test]
fn what_the_mount_does_not_show_is_none() {
    let (_root, groups) = tree(&[
        ("sys/cgroup.controllers", ""),
        ("sys/memory.current", "1"),
        ("proc/7/cgroup", "0::/../../other\n"),
        ("proc/8/cgroup", "garbage\n\n::\n"),
    ]);
    for pid in [7, 8] {
        let paths = groups.of(pid).expect("readable").expect("there");
        assert_eq!(groups.read(&paths).cpu, None);
    }
    assert!(groups.of(9).expect("no error").is_none());
    let (_root, nothing) = tree(&[("proc/7/cgroup", "0::/\n")]);
    assert_eq!(nothing.version(), CgroupVersion::Absent);
    assert_eq!(nothing.read(&nothing.of(7).expect("readable").expect("there")), CgroupReading::default());
}

#[test]
fn the_running_system_is_understood() {
    let groups = Cgroups::new(None);
    let paths = groups.of(std::process::id()).expect("readable").expect("we live");
    let reading = groups.read(&paths);
    println!("{}: {paths:?}\n{reading:?}\n{:?}", groups.version(), groups.host_pressure());
    if groups.version() != CgroupVersion::Absent {
        assert!(paths.name.starts_with('/'));
    }
}

#[test]
fn groups_beside_our_own_are_found_in_the_hosts_tree() {
    let pod = "host/kubepods.slice";
    let (root, _) = tree(&[
        ("host/cgroup.controllers", "cpu memory"),
        (&format!("{pod}/agent.slice/own.scope/cgroup.controllers"), "cpu memory"),
        (&format!("{pod}/vllm.slice/box.scope/memory.current"), "700"),
        (&format!("{pod}/vllm.slice/memory.max"), "1000"),
        ("proc/7/cgroup", "0::/../../vllm.slice/box.scope\n"),
        ("proc/8/cgroup", "0::/\n"),
        ("proc/9/cgroup", "0::/../../../../box.scope\n"),
    ]);
    let (host, ours) = (root.path().join("host"), root.path().join(pod).join("agent.slice/own.scope"));
    let groups = Cgroups::seen_from(&ours, &host, root.path().join("proc"));
    let memory = |groups: &Cgroups, pid| {
        let paths = groups.of(pid).expect("readable").expect("there");
        groups.read(&paths).memory.map(|memory| (memory.current_bytes, memory.max_bytes))
    };
    assert_eq!(memory(&groups, 7), Some((700, Some(1000))));
    let own = groups.of(8).expect("readable").expect("there");
    assert_eq!(own.unified.map(|folder| folder.leaf), Some(ours.clone()));
    assert_eq!(memory(&groups, 9), None);
    // Without the host's tree there is nothing to find.
    assert_eq!(memory(&Cgroups::at(&ours, root.path().join("proc")), 7), None);
}
