"""Wrong values, and the key that the message must name. Each is one mistake that a person makes."""

from chart import CHART, Failure, expect

# Arguments of helm, and what its message must contain.
WRONG = [
    (["--set", "privleged=true"], "privleged"),
    (["--set", "privileged=yes"], "privileged"),
    (["--set", "image.pullpolicy=Always"], "pullpolicy"),
    (["--set", "image.pullPolicy=always"], "image.pullPolicy"),
    (["--set", "image.digest=latest"], "image.digest"),
    (["--set-string", "port=9770"], "port"),
    (["--set", "port=97700"], "port"),
    (["--set", "listenAddress=:9770"], "listenAddress"),
    (["--set", "config=file.toml"], "config"),
    (["--set", "kubernetes.podLabels=app"], "kubernetes.podLabels"),
    (["--set", "kubernetes.node=a"], "node"),
    (["--set", "podResources.hostPath=var/lib/kubelet"], "podResources.hostPath"),
    (["--set", "web.scheme=https"], "web.scheme"),
    (["--set", "nvidia.runtimeClass=nvidia"], "runtimeClass"),
    (["--set", "capabilities.extra={CAP_SYSLOG}"], "capabilities.extra.0"),
    (["--set", "capabilities.add={SYSLOG}"], "add"),
    (["--set", "seccompProfile.type=unconfined"], "seccompProfile.type"),
    (["--set", "seccompProfile.type="], "seccompProfile.type"),
    (["--set", "seccompProfile.type=Localhost"], "seccompProfile.localhostProfile"),
    (["--set", "appArmorProfile.type=unconfined"], "appArmorProfile.type"),
    (["--set", "nodeSelector.gpu=true"], "nodeSelector.gpu"),
    (["--set-json", 'tolerations=[{"key":"a","operator":"exists"}]'], "tolerations.0.operator"),
    (["--set", "updateStrategy.type=Rolling"], "updateStrategy.type"),
    (["--set", "updateStrategy.rollingUpdate.maxUnavailable=ten"], "updateStrategy.rollingUpdate.maxUnavailable"),
    (["--set", "resources.limit.memory=1Gi"], "limit"),
    (["--set", "probes.liveness.period=3"], "period"),
    (["--set", "podMonitor.interval=15"], "podMonitor.interval"),
    (["--set", "podMonitor.enable=true"], "enable"),
    (["--set", "prometheusRule.slo.ttft.seconds=3"], "prometheusRule.slo.ttft.seconds"),
    (["--set", "prometheusRule.slo.errors.objective=99.5"], "prometheusRule.slo.errors.objective"),
    (["--set", "prometheusRule.slo.minRequests.2h=1"], "2h"),
    (["--set", "prometheusRule.overrides.QueueGrowing.for=1m"], "prometheusRule.overrides"),
    (["--set", "prometheusRule.overrides.InferscopeOomKill.severity=info"], "severity"),
    # What a schema cannot say.
    (["--set", "prometheusRule.enabled=true,prometheusRule.disabledAlerts={InferscopeNone}"], "InferscopeNone"),
    (["--set", "podMonitor.enabled=true,serviceMonitor.enabled=true"], "serviceMonitor.enabled"),
    (["--set", "web.config.a=b,web.existingSecret=c"], "web.existingSecret"),
    (["--set", "web.config.tls_server_config.cert_file=a"], "web.scheme"),
    (["--set", "web.config.bearer_token_file=a,web.scheme=HTTPS"], "web.scheme"),
    (["--set-json", 'web={"config":{"tls_server_config":{},"bearer_token_file":"a"},"scheme":"HTTPS"}'], "web.scheme"),
    (["--set", "web.tokenSecret=Token_1"], "web.tokenSecret"),
    (["--kube-version", "1.27.9"], "1.28"),
]


def check(helm, arguments, names):
    """Helm refuses these values and says which."""
    code, _, errors = helm.run("template", "x", CHART, *arguments)
    if not code:
        raise Failure("is accepted")
    expect(names in errors, f"the message does not name {names}: {errors}")
