"""What must hold of the rendered pods, roles and configuration. Takes documents, renders nothing."""

import tomllib

import yaml

from chart import VALUES, equal, expect, only

# Capabilities by values file; none are listed for a privileged container.
CAPABILITIES = {
    "default": ["BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE", "DAC_READ_SEARCH"],
    "minimal": ["BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE"],
    "mutual-tls": ["BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE", "DAC_READ_SEARCH"],
    "old-kernel": ["BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE", "DAC_READ_SEARCH", "SYS_RESOURCE"],
    "everything": ["BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE", "DAC_READ_SEARCH", "SYS_RESOURCE", "SYSLOG"],
    "gpu-operator": None,
    "privileged": None,
}
SECCOMP = {"everything": "Localhost", "old-kernel": "Unconfined"}
# Host paths and where they are mounted, for the default values.
HOST_PATHS = {
    "/sys/fs/cgroup": "/host/sys/fs/cgroup",
    "/sys/kernel/tracing": "/sys/kernel/tracing",
    "/var/lib/kubelet/pod-resources": "/var/lib/kubelet/pod-resources",
}
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/inferscope"


def template(documents):
    return only(documents, "DaemonSet")["spec"]["template"]


def container(documents):
    found = template(documents)["spec"]["containers"]
    equal([one["name"] for one in found], ["inferscope"], "the containers")
    return found[0]


def namespaces(documents):
    """The host's processes are seen, its network is not."""
    spec = template(documents)["spec"]
    equal(spec.get("hostPID"), True, "hostPID")
    for key in ("hostNetwork", "hostIPC"):
        expect(not spec.get(key), f"{key} is set")
    for port in container(documents)["ports"]:
        expect("hostPort" not in port, "a hostPort is set")


def privileges(documents, values):
    context = container(documents)["securityContext"]
    equal(context["readOnlyRootFilesystem"], True, "readOnlyRootFilesystem")
    equal(context["runAsUser"], 0, "runAsUser")
    wanted = CAPABILITIES[values]
    if wanted is None:
        equal(context["privileged"], True, "privileged")
        expect("allowPrivilegeEscalation" not in context, "the API server refuses allowPrivilegeEscalation here")
        return
    equal(context["privileged"], False, "privileged")
    equal(context["allowPrivilegeEscalation"], False, "allowPrivilegeEscalation")
    equal(context["capabilities"], {"drop": ["ALL"], "add": wanted}, "capabilities")
    equal(context["seccompProfile"]["type"], SECCOMP.get(values, "RuntimeDefault"), "seccompProfile.type")


def nodes(documents, values):
    """Nodes on which the agent has been run, and fewer if the values say so."""
    said = (yaml.safe_load((VALUES / f"{values}.yaml").read_text()) or {}).get("nodeSelector", {})
    wanted = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **said}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    equal(ordered(template(documents)["spec"]["nodeSelector"]), ordered(wanted), "the nodeSelector")


def app_armor(documents, field, wanted):
    """A field of the container from 1.30 on, an annotation of the pod before, and never both."""
    annotation = template(documents)["metadata"]["annotations"].get(APP_ARMOR)
    profile = container(documents)["securityContext"].get("appArmorProfile")
    equal(profile is not None, field and wanted is not None, "whether there is a field appArmorProfile")
    equal(annotation, None if field else wanted, "the annotation of AppArmor")


def mounts(documents, values):
    """Every mount has its volume and the other way round; nothing of the host can be written."""
    volumes = {volume["name"]: volume for volume in template(documents)["spec"]["volumes"]}
    mounted = {mount["name"]: mount for mount in container(documents)["volumeMounts"]}
    equal(sorted(volumes), sorted(mounted), "the volumes")
    for name, volume in volumes.items():
        if "emptyDir" not in volume:
            equal(mounted[name].get("readOnly"), True, f"readOnly of {name}")
    of_host = {name: volume["hostPath"]["path"] for name, volume in volumes.items() if "hostPath" in volume}
    paths = {path: mounted[name]["mountPath"] for name, path in of_host.items()}
    if values == "default":
        equal(dict(sorted(paths.items())), HOST_PATHS, "the host paths")
    if values == "minimal":
        equal(paths, {}, "the host paths")


def ports(documents, values):
    """The port is the same in the command, the container, the probes and the Service."""
    agent = container(documents)
    (port,) = agent["ports"]
    equal(port["name"], "metrics", "the port's name")
    listen = [argument for argument in agent["args"] if argument.startswith("--listen=")]
    address = "0.0.0.0" if values == "old-kernel" else "[::]"
    equal(listen, [f"--listen={address}:{port['containerPort']}"], "the arguments of listening")
    scheme = "HTTPS" if values == "everything" else "HTTP"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        # The kubelet has no client certificate.
        if values in ("minimal", "mutual-tls"):
            equal(agent[probe]["tcpSocket"], {"port": "metrics"}, probe)
        else:
            equal(agent[probe]["httpGet"], {"path": path, "port": "metrics", "scheme": scheme}, probe)
    for (kind, _), service in documents.items():
        if kind == "Service":
            (its,) = service["spec"]["ports"]
            equal((its["name"], its["targetPort"]), ("metrics", "metrics"), "the Service's port")
            equal(its["port"], port["containerPort"], "the Service's port")
            equal(service["spec"]["clusterIP"], "None", "clusterIP")


def labels(documents):
    """Selectors select the pods, and hold nothing that a new version would change."""
    pod = template(documents)["metadata"]["labels"]
    tests = [labels_of(document) for (kind, _), document in documents.items() if kind == "Pod"]
    for (kind, name), document in documents.items():
        spec = document.get("spec", {})
        selector = {
            "DaemonSet": lambda: spec["selector"]["matchLabels"],
            "Service": lambda: spec["selector"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
            "PodMonitor": lambda: spec["selector"]["matchLabels"],
        }.get(kind, lambda: None)()
        if selector is not None:
            expect(selector.items() <= pod.items(), f"{kind} {name} does not select the agents: {selector}")
            for test in tests:
                expect(not selector.items() <= test.items(), f"{kind} {name} selects the pod of helm test, too")
            wanted = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"]
            equal(sorted(selector), wanted, f"the keys of {kind} {name}'s selector")
        if kind == "ServiceMonitor":
            service = labels_of(only(documents, "Service"))
            expect(spec["selector"]["matchLabels"].items() <= service.items(), "the ServiceMonitor selects no Service")
        if kind != "Namespace":
            for key in ("helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"):
                expect(key in labels_of(document), f"{kind} {name} has no label {key}")


def labels_of(document):
    return document["metadata"].get("labels", {})


def roles(documents, values):
    """Reading pods and nothing else; no token where none is needed."""
    token = template(documents)["spec"]["automountServiceAccountToken"]
    account = template(documents)["spec"]["serviceAccountName"]
    if values == "minimal":
        equal((token, account), (False, "default"), "token and account")
        expect(not [kind for kind, _ in documents if "Role" in kind or kind == "ServiceAccount"], "there is a role")
        return
    equal(token, True, "automountServiceAccountToken")
    wanted = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = only(documents, "ClusterRole")
    equal(role["rules"], wanted, "the rules of the ClusterRole")
    expect(not [kind for kind, _ in documents if kind in ("Role", "RoleBinding")], "there is a second role")
    binding = only(documents, "ClusterRoleBinding")
    equal(binding["roleRef"]["name"], role["metadata"]["name"], "the role that is bound")
    (subject,) = binding["subjects"]
    its = only(documents, "ServiceAccount")["metadata"]
    equal((subject["name"], subject["namespace"]), (its["name"], its["namespace"]), "whom the role is bound to")
    equal(account, its["name"], "the account of the pods")


def configuration(documents, values):
    """The TOML holds what the values say, whole numbers as whole numbers."""
    found = tomllib.loads(config_files(documents)["inferscope.toml"])
    said = yaml.safe_load((VALUES / f"{values}.yaml").read_text()) or {}
    wanted = said.get("config", {})
    if values == "everything":
        wanted["kubernetes"] = {"pod_labels": said["kubernetes"]["podLabels"]}
        wanted["web"] = {"config_file": "/etc/inferscope/web/web.yml"}
        wanted["nvml"]["library"] = said["nvidia"]["library"]
    if values == "mutual-tls":
        wanted["web"] = {"config_file": "/etc/inferscope/web/web.yml"}
    if values == "minimal":
        wanted["kubernetes"] = {"enabled": False}
        wanted["web"] = {"config_file": "/etc/inferscope/web/web.yml"}
    equal(ordered(found), ordered(wanted), "the configuration")


def web_configuration(documents, values):
    """The agent gets the web configuration as it is, and every file that it names is mounted and follows its Secret."""
    said = (yaml.safe_load((VALUES / f"{values}.yaml").read_text()) or {}).get("web", {})
    volumes = {volume["name"]: volume for volume in template(documents)["spec"]["volumes"]}
    mounts = {mount["name"]: mount for mount in container(documents)["volumeMounts"]}
    if "config" not in said:
        equal("web" in volumes, "existingSecret" in said, "whether there is a volume for it")
        return
    secret = volumes["web"]["secret"]["secretName"]
    found = yaml.safe_load(documents["Secret", secret]["stringData"]["web.yml"])
    equal(ordered(found), ordered(said["config"]), "the web configuration")
    for path in files_of(found):
        folder, _, name = path.rpartition("/")
        (mount,) = [mount for mount in mounts.values() if mount["mountPath"] == folder]
        expect("subPath" not in mount, f"{path} would not follow its Secret")
        items = volumes[mount["name"]]["secret"].get("items")
        expect(items is None or {"key": name, "path": name} in items, f"{path} is not in {folder}")
    monitors = [one for (kind, _), one in documents.items() if kind in ("PodMonitor", "ServiceMonitor")]
    for monitor in monitors:
        (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        equal(endpoint["scheme"], "https" if "tls_server_config" in found else "http", "the scheme of scrapes")
        wanted = {"credentials": {"name": said["tokenSecret"], "key": "token"}}
        equal(ordered(endpoint["authorization"]), ordered(wanted), "the authorization of scrapes")
    equal(len(monitors), 1, "the number of monitors")


def files_of(web):
    for section in (web, web.get("tls_server_config", {})):
        yield from (value for key, value in section.items() if key.endswith("_file"))


def config_files(documents):
    """Content of the ConfigMap or Secret that the pods take their configuration from."""
    (volume,) = [volume for volume in template(documents)["spec"]["volumes"] if volume["name"] == "config"]
    if "secret" in volume:
        return documents["Secret", volume["secret"]["secretName"]]["stringData"]
    return documents["ConfigMap", volume["configMap"]["name"]]["data"]


def ordered(value):
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [ordered(one) for one in value]
    return value
