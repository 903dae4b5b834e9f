"""PodMonitor, ServiceMonitor, PrometheusRule and dashboards.

The operator's definitions are not at hand: what its API has of them stands here, as far as the chart uses it.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

from chart import CHART, ROOT, Failure, equal, expect, load, only

RULES = sorted((ROOT / "deploy/prometheus").glob("*.rules.yaml"))
DURATION = re.compile(r"(\d+(ms|s|m|h|d|w|y))+")
# Of RelabelConfig, SafeAuthorization, SafeTLSConfig and the endpoints in the operator's pkg/apis/monitoring/v1.
RELABELING = {"action", "regex", "sourceLabels", "targetLabel", "replacement", "separator", "modulus"}
ENDPOINT = {"port", "path", "scheme", "interval", "scrapeTimeout", "honorLabels", "tlsConfig", "authorization",
            "relabelings", "metricRelabelings"}
MONITOR = {"jobLabel", "namespaceSelector", "selector"}
GROUP = {"name", "interval", "rules"}
RULE = {"record", "alert", "expr", "for", "labels", "annotations"}


def known(mapping, keys, what):
    unknown = set(mapping) - keys
    expect(not unknown, f"{what} has keys that the CRD does not know: {', '.join(sorted(unknown))}")


def monitor(document, endpoints, namespace):
    """Structure of a PodMonitor or ServiceMonitor, and what its labels turn into."""
    spec = document["spec"]
    known(spec, MONITOR | {endpoints}, document["kind"])
    equal(spec["namespaceSelector"], {"matchNames": [namespace]}, "the namespace of the agents")
    (endpoint,) = spec[endpoints]
    known(endpoint, ENDPOINT, "the endpoint")
    equal((endpoint["port"], endpoint["path"]), ("metrics", "/metrics"), "port and path")
    equal(endpoint["honorLabels"], True, "honorLabels")
    expect(endpoint["scheme"] in ("http", "https"), f"scheme is {endpoint['scheme']}")
    for key in ("interval", "scrapeTimeout"):
        expect(DURATION.fullmatch(endpoint.get(key, "1s")), f"{key} is no duration: {endpoint.get(key)}")
    for rule in endpoint["relabelings"] + endpoint.get("metricRelabelings", []):
        known(rule, RELABELING, "a relabeling")
    target = {"job": "inferscope", "instance": "10.0.0.7:9770", "__meta_kubernetes_pod_node_name": "node-1"}
    target |= {"namespace": "a", "pod": "b", "container": "c", "service": "d", "endpoint": "metrics"}
    relabel(target, endpoint["relabelings"][:3])
    target = {key: value for key, value in target.items() if not key.startswith("__")}
    equal(dict(sorted(target.items())), {"instance": "node-1", "job": "inferscope", "node": "node-1"}, "the target")


def relabel(target, rules):
    """Prometheus's relabeling, as far as the chart uses it; regexes are anchored."""
    for rule in rules:
        if rule["action"] == "labeldrop":
            for key in [key for key in target if re.fullmatch(rule["regex"], key)]:
                del target[key]
        elif rule["action"] == "replace":
            target[rule["targetLabel"]] = ";".join(target.get(label, "") for label in rule["sourceLabels"])
        else:
            raise Failure(f"the test knows no action {rule['action']}")


def rule_structure(document):
    known(document["spec"], {"groups"}, "PrometheusRule")
    names = [group["name"] for group in document["spec"]["groups"]]
    equal(len(names), len(set(names)), "the number of different names of groups")
    for group in document["spec"]["groups"]:
        known(group, GROUP, f"group {group['name']}")
        for rule in group["rules"]:
            known(rule, RULE, f"a rule of {group['name']}")
            expect(("alert" in rule) != ("record" in rule), f"a rule of {group['name']} is neither alert nor record")
            for kind in ("labels", "annotations"):
                for value in rule.get(kind, {}).values():
                    expect(isinstance(value, str), f"a value of {kind} of {group['name']} is no text: {value!r}")


def promtool(program, document):
    """Prometheus's own opinion of the rules."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(document["spec"], file)
        file.flush()
        done = subprocess.run([program, "check", "rules", file.name], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"promtool refuses the rules: {done.stdout}{done.stderr}")


def unchanged(document):
    """Without values the rules are those of deploy/prometheus, texts with braces and all."""
    wanted = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    equal(sorted_groups(document["spec"]["groups"]), sorted_groups(wanted), "the rules")


def sorted_groups(groups):
    return sorted((group["name"], group.get("interval"), list(map(sorted_rule, group["rules"]))) for group in groups)


def sorted_rule(rule):
    return {key: dict(sorted(of.items())) if isinstance(of, dict) else of for key, of in sorted(rule.items())}


def changed(document):
    """What tests/kubernetes/values/everything.yaml asks for, and nothing else."""
    found = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
    source = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    off = {"InferscopeGpuPowerCapped", "InferscopeTokensEstimated"}
    wanted = [edited(rule) for rule in source if rule.get("alert") not in off]
    equal(len(found), len(wanted), "the number of rules")
    for its, ours in zip(sorted(map(sorted_rule, found), key=repr), sorted(map(sorted_rule, wanted), key=repr)):
        equal(its, ours, f"{ours.get('alert') or ours['record']}")


def edited(rule):
    """One rule as everything.yaml wants it; written out here so that chart and test do not share a mistake."""
    labels = rule.get("labels", {})
    values = {
        ("inferscope:slo_objective:ratio", "ttft"): "vector(0.999)",
        ("inferscope:slo_objective:ratio", "tpot"): "vector(0.95)",
        ("inferscope:slo_objective:ratio", "errors"): "vector(0.9)",
        ("inferscope:slo_requests_min:count", "1h"): "vector(10)",
        ("inferscope:slo_requests_min:count", "3d"): "vector(2000000)",
    }
    expr = values.get((rule.get("record"), labels.get("sli") or labels.get("window")), rule["expr"])
    if rule.get("record") == "inferscope:sli_good_total":
        expr = expr.replace('le=~"1|1[.]0"', 'le=~"5|5[.]0"').replace('le="0.1"', 'le="0.025"')
    rule = {**rule, "expr": expr}
    if "alert" in rule:
        url = f"https://runbooks.example.com/inferscope/{rule['alert']}.md"
        rule["labels"] = {**labels, "team": "ml-platform"}
        rule["annotations"] = {**rule["annotations"], "runbook_url": url}
    if rule.get("alert") == "InferscopeQueueGrowing":
        rule["for"] = "30m"
        rule["labels"]["severity"] = "info"
    if rule.get("alert") == "InferscopeRunQueueDelay":
        rule["expr"] = "inferscope:service_runqueue_seconds:rate10m > 1"
        rule["annotations"]["summary"] = "CPUs"
    return rule


def dashboards(helm):
    """Each JSON file becomes a ConfigMap with its bytes; none becomes nothing."""
    text = '{"title": "LLM",\n "legend": "{{service}} {{ .Values.port }}"}\n'
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "inferscope"
        shutil.copytree(CHART, chart)
        for path in (chart / "dashboards").glob("*.json"):
            path.unlink()
        arguments = ["--set", "dashboards.enabled=true"]
        equal(len(dashboard_maps(helm.text(*arguments, chart=chart))), 0, "the number of dashboards")
        (chart / "dashboards/GPU_overview.json").write_text(text)
        (chart / "dashboards/notes.txt").write_text("no dashboard")
        (found,) = dashboard_maps(helm.text(*arguments, chart=chart))
        equal(found["metadata"]["name"], "inferscope-gpu-overview", "the name")
        equal(found["data"], {"GPU_overview.json": text}, "the content")


def dashboard_maps(text):
    return [document for document in load(text) if document["metadata"]["labels"].get("grafana_dashboard") == "1"]


def packaged(helm):
    """`helm package` takes the rules with it, though they are behind a link, and not their tests."""
    with tempfile.TemporaryDirectory() as folder:
        code, _, errors = helm.run("package", CHART, "--destination", folder)
        expect(code == 0, errors)
        (archive,) = pathlib.Path(folder).glob("*.tgz")
        shutil.unpack_archive(archive, folder)
        rules = sorted(path.name for path in (pathlib.Path(folder) / "inferscope/rules").rglob("*"))
        equal(rules, [path.name for path in RULES], "the files in rules/")
        arguments = ["--set", "prometheusRule.enabled=true"]
        found = only({(one["kind"], ""): one for one in load(helm.text(*arguments, chart=archive))}, "PrometheusRule")
        unchanged(found)
