"""Sections that a values file leaves empty, comments only below them: null for Helm, which takes the defaults away."""

from chart import CHART, Failure, equal, expect, load

# On, so that what is below is looked at; a section that is emptied itself is as without this.
ON = ("networkPolicy", "prometheusRule", "dashboards")
# Where nothing instead of the default is what `null` is for.
NOTHING = (
    "nodeSelector",
    "resources",
    "resources.requests",
    "resources.limits",
    "updateStrategy.rollingUpdate",
    "networkPolicy.prometheus.namespaceSelector",
    "networkPolicy.prometheus.namespaceSelector.matchLabels",
    "networkPolicy.prometheus.podSelector",
    "dashboards.labels",
)
# Whose defaults cannot be done without: refused, and named.
NEEDED = (
    "image",
    "kubernetes",
    "podResources",
    "capabilities",
    "seccompProfile",
    "appArmorProfile",
    "tracefs",
    "cgroups",
    "serviceAccount",
    "rbac",
    "updateStrategy",
    "probes",
    "probes.liveness",
    "probes.readiness",
    "probes.startup",
    "service",
    "networkPolicy.prometheus",
    "prometheusRule.slo",
    "prometheusRule.slo.ttft",
    "prometheusRule.slo.tpot",
    "prometheusRule.slo.errors",
    "prometheusRule.slo.minRequests",
)


def sections(values, above=""):
    """Paths of all sections of values.yaml."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield above + key
            yield from sections(value, f"{above}{key}.")


def known(values):
    """The lists above name sections that there are."""
    every = set(sections(values))
    for path in (*NOTHING, *NEEDED):
        expect(path in every, f"values.yaml has no section {path}")


def check(helm, path):
    """An emptied section is as its defaults, or nothing where that is meant, or is refused by its name."""
    monitor = "serviceMonitor" if path.startswith("serviceMonitor") else "podMonitor"
    on = [argument for name in (*ON, monitor) if name != path for argument in ("--set", f"{name}.enabled=true")]
    if path in NEEDED:
        code, _, errors = helm.run("template", "x", CHART, *on, "--set", f"{path}=null")
        above, _, name = path.rpartition(".")
        says = f"{above or '(root)'}: {name} is required"
        expect(code, "is accepted")
        expect(says in errors, f"the message is not {says}: {errors}")
        return
    text = helm.text(*on, "--set", f"{path}=null")
    if not load(text) or "<no value>" in text:
        raise Failure("renders to what is no value")
    if path not in NOTHING:
        equal(text, helm.text(*on), "the rendering")
