#!/usr/bin/env python3
"""Checks the Helm chart and the plain manifests without a cluster.

    validate.py --helm PATH [--promtool PATH] [--update]

Needs PyYAML and kubernetes-validate. One line per check, a line of counts, exit code 1 if one failed.
"""

import argparse
import functools
import re
import sys

import kubernetes_validate
import kubernetes_validate.utils
import yaml

import emptied
import facts
import monitoring
import plain
import refused
from chart import CHART, NAMESPACE, OPERATOR, VALUES, Failure, Helm, equal, expect, load, only

OLDEST = (1, 28)


class Checks:
    """Runs checks, prints a line for each, and counts."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
        except Failure as why:
            self.fail(name, why)
        except Exception as error:  # noqa: BLE001: a check that breaks is a check that fails
            self.fail(name, f"{type(error).__name__}: {error}")
        else:
            self.passed += 1
            print(f"ok    {name}")

    def fail(self, name, why):
        self.failed += 1
        print(f"FAIL  {name}: {why}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip  {name}: {why}")


def versions():
    """Kubernetes versions with schemas, from the oldest that the chart supports on."""
    every = [tuple(map(int, version.split(".")[:2])) for version in kubernetes_validate.utils.all_versions()]
    return [f"{major}.{minor}.0" for major, minor in sorted(every) if (major, minor) >= OLDEST]


class Schemas:
    """Kubernetes' own schemas, strict; each different document is validated once per version."""

    def __init__(self):
        utils = kubernetes_validate.utils
        utils.schema_contents = functools.cache(utils.schema_contents)
        self.seen = set()

    def check(self, documents, version):
        for (kind, name), document in documents.items():
            if document["apiVersion"] == OPERATOR or (version, repr(document)) in self.seen:
                continue
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(map(str, error.path))
                raise Failure(f"{kind} {name}: {path}: {error.message}") from error
            self.seen.add((version, repr(document)))


def lint(helm, values):
    code, out, errors = helm.run("lint", "--strict", CHART, "--values", VALUES / f"{values}.yaml")
    expect(code == 0, f"{out}{errors}")


def readme(values):
    """The README's table has every value with its default, and no other."""
    rows = {}
    for line in (CHART / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and cells[1].startswith("`") and cells[2].startswith("`"):
            rows[cells[1].strip("`")] = yaml.safe_load(cells[2].strip("`"))
    for path, default in rows.items():
        found = functools.reduce(lambda table, key: table[key], path.split("."), values)
        equal(facts.ordered(default), facts.ordered(found), f"the default of {path}")
    for path in leaves(values):
        expect(any(path == row or path.startswith(f"{row}.") for row in rows), f"{path} is not in the table")


def leaves(values, above=""):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield above + key


def notes(helm):
    """NOTES.txt, which `helm template` does not print, says what is missing with these values."""
    wanted = {
        "default": ["podMonitor.enabled", "networkPolicy"],
        "everything": [],
        "minimal": ["dacReadSearch"],
    }
    for values, words in wanted.items():
        text = plain.notes(helm, values)
        for word in ("dacReadSearch", "WARNING", "podMonitor.enabled", "networkPolicy"):
            if word in words:
                expect(word in text, f"with {values} values it does not speak of {word}")
            elif values != "minimal":
                expect(word not in text, f"with {values} values it speaks of {word}")


def driver_root(helm):
    """A driver without devices is said, and mounted where the host has it."""
    arguments = ["--set", "nvidia.driverRoot=/home/kubernetes/bin/nvidia"]
    expect("WARNING: nvidia.driverRoot" in plain.notes(helm, "default", *arguments), "NOTES.txt does not warn")
    documents = {(one["kind"], one["metadata"]["name"]): one for one in load(helm.text(*arguments))}
    (mount,) = [one for one in facts.container(documents)["volumeMounts"] if one["name"] == "nvidia-driver"]
    wanted = {"mountPath": "/home/kubernetes/bin/nvidia", "mountPropagation": "HostToContainer", "readOnly": True}
    equal({key: mount[key] for key in sorted(mount) if key != "name"}, wanted, "the mount")


def long_names(helm):
    """The longest name that helm takes for a release still makes names that Kubernetes takes."""
    arguments = ["-f", VALUES / "everything.yaml", "--set", "fullnameOverride=,nameOverride="]
    for document in load(helm.text(*arguments, release="r" * 53)):
        name, kind = document["metadata"]["name"], document["kind"]
        # Names of Services and pods become labels and host names, the others may have 253.
        most = 63 if kind in ("DaemonSet", "Pod", "Service") else 253
        expect(re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) and len(name) <= most, f"{kind} has the name {name}")


def semantics(checks, helm, values):
    documents = helm.render(values)
    for fact in (facts.namespaces, facts.labels):
        checks.run(f"{values}: {fact.__name__}", fact, documents)
    for fact in (facts.privileges, facts.nodes, facts.mounts, facts.ports, facts.roles, facts.configuration,
                 facts.web_configuration):
        checks.run(f"{values}: {fact.__name__}", fact, documents, values)
    profiles = {"everything": "localhost/inferscope", "old-kernel": None}
    if values not in ("gpu-operator", "privileged"):
        wanted = profiles.get(values, "unconfined")
        checks.run(f"{values}: AppArmor on 1.30", facts.app_armor, documents, True, wanted)
        # Versions as managed clusters have them: what is behind the dash is no pre-release.
        for version, is_field in (("1.29.9", False), ("v1.29.9-gke.1", False), ("v1.30.0-eks-036c24b", True)):
            documents = helm.render(values, kube=version)
            checks.run(f"{values}: AppArmor on {version}", facts.app_armor, documents, is_field, wanted)


def operator(checks, helm, program):
    """Objects of the Prometheus operator."""
    every, gpu = helm.render("everything"), helm.render("gpu-operator")
    pod, service = only(every, "PodMonitor"), only(gpu, "ServiceMonitor")
    checks.run("PodMonitor: structure", monitoring.monitor, pod, "podMetricsEndpoints", NAMESPACE)
    checks.run("ServiceMonitor: structure", monitoring.monitor, service, "endpoints", NAMESPACE)
    rules = {"as they are": only(gpu, "PrometheusRule"), "changed": only(every, "PrometheusRule")}
    for name, document in rules.items():
        checks.run(f"PrometheusRule, {name}: structure", monitoring.rule_structure, document)
        if program:
            checks.run(f"PrometheusRule, {name}: promtool", monitoring.promtool, program, document)
        else:
            checks.skip(f"PrometheusRule, {name}: promtool", "no --promtool")
    checks.run("PrometheusRule, as they are: the same as deploy/prometheus", monitoring.unchanged, rules["as they are"])
    checks.run("PrometheusRule, changed: as the values say", monitoring.changed, rules["changed"])


def main():
    arguments = argparse.ArgumentParser(description="checks the Helm chart and the plain manifests")
    arguments.add_argument("--helm", required=True, metavar="PATH", help="helm 3.14 or later")
    arguments.add_argument("--promtool", metavar="PATH", help="promtool; without it the rules are not checked by it")
    arguments.add_argument("--update", action="store_true", help="write deploy/kubernetes anew")
    options = arguments.parse_args()
    helm, checks, schemas = Helm(options.helm), Checks(), Schemas()
    if options.update:
        plain.update(helm)
    files = sorted(path.stem for path in VALUES.glob("*.yaml"))
    for values in files:
        checks.run(f"{values}: helm lint", lint, helm, values)
        for version in versions():
            name = f"{values}: schemas of Kubernetes {version.rsplit('.', 1)[0]}"
            checks.run(name, lambda: schemas.check(helm.render(values, kube=version), version))  # noqa: B023
        semantics(checks, helm, values)
    for version in versions():
        if version.split(".")[1] >= "30":
            name = f"plain manifests: schemas of Kubernetes {version.rsplit('.', 1)[0]}"
            checks.run(name, lambda: schemas.check(plain.documents(), version))  # noqa: B023
    checks.run("plain manifests: up to date", plain.up_to_date, helm)
    operator(checks, helm, options.promtool)
    checks.run("dashboards: one ConfigMap each", monitoring.dashboards, helm)
    checks.run("package: holds the rules", monitoring.packaged, helm)
    checks.run("NOTES.txt: says what is missing", notes, helm)
    checks.run("names: long ones are cut", long_names, helm)
    checks.run("nvidia.driverRoot: mounted, and warned of", driver_root, helm)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    checks.run("README: every value with its default", readme, values)
    empty = 'web.config={"tls_server_config":{},"bearer_token_file":"/etc/inferscope/token/token"}'
    checks.run("web.config: an empty tls_server_config is no TLS", helm.text, "--set-json", empty)
    checks.run("emptied: known sections", emptied.known, values)
    for path in emptied.sections(values):
        checks.run(f"emptied: {path}", emptied.check, helm, path)
    for wrong, names in refused.WRONG:
        checks.run(f"refused: {' '.join(wrong)}", refused.check, helm, wrong, names)
    print(f"{checks.passed} passed, {checks.failed} failed, {checks.skipped} skipped")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
