{{/* What PodMonitor and ServiceMonitor have in common. Takes a list: the root, and the values of one of them. */}}

{{- define "inferscope.monitorMetadata" -}}
{{- $root := index . 0 }}
{{- $monitor := index . 1 -}}
name: {{ include "inferscope.fullname" $root }}
namespace: {{ default $root.Release.Namespace $monitor.namespace }}
labels:
  {{- include "inferscope.labels" $root | nindent 2 }}
  {{- with $monitor.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $monitor.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "inferscope.monitorSelector" -}}
{{- $root := index . 0 -}}
# job="inferscope" rather than the name of this object.
jobLabel: app.kubernetes.io/name
namespaceSelector:
  matchNames: [{{ $root.Release.Namespace }}]
selector:
  matchLabels:
    {{- include "inferscope.agentLabels" $root | nindent 4 }}
{{- end }}

{{- define "inferscope.monitorEndpoint" -}}
{{- $root := index . 0 }}
{{- $monitor := index . 1 -}}
- port: metrics
  path: /metrics
  scheme: {{ include "inferscope.scheme" $root | lower }}
  interval: {{ $monitor.interval }}
  {{- with $monitor.scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  # namespace, pod, container and service of a series are those of the watched service and stay as they are.
  honorLabels: true
  {{- with $monitor.tlsConfig }}
  tlsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $monitor.authorization }}
  authorization:
    {{- toYaml $monitor.authorization | nindent 4 }}
  {{- else if ($root.Values.web).tokenSecret }}
  authorization:
    credentials:
      name: {{ ($root.Values.web).tokenSecret }}
      key: token
  {{- end }}
  relabelings:
    # The target is the agent of a node. Those of its own pod must not stand on series that have none, such as GPUs'.
    - action: labeldrop
      regex: namespace|pod|container|service|endpoint
    - action: replace
      sourceLabels: [__meta_kubernetes_pod_node_name]
      targetLabel: node
    # The same after the pod was replaced, so that its series go on.
    - action: replace
      sourceLabels: [__meta_kubernetes_pod_node_name]
      targetLabel: instance
    {{- with $monitor.relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $monitor.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
