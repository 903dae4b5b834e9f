{{/* Parts of the pod: probes, and volumes with their mounts. */}}

{{- define "inferscope.probe" -}}
{{- $root := index . 0 }}
{{- if include "inferscope.probesTcp" $root -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: metrics
  scheme: {{ include "inferscope.scheme" $root }}
{{- end }}
{{ toYaml (index . 2) }}
{{- end }}

{{- define "inferscope.volumeMounts" -}}
- name: config
  mountPath: /etc/inferscope/config
  readOnly: true
{{- if include "inferscope.webSecret" . }}
- name: web
  mountPath: /etc/inferscope/web
  readOnly: true
{{- end }}
{{- if (.Values.web).tlsSecret }}
- name: tls
  mountPath: /etc/inferscope/tls
  readOnly: true
{{- end }}
{{- if (.Values.web).tokenSecret }}
- name: token
  mountPath: /etc/inferscope/token
  readOnly: true
{{- end }}
{{- if .Values.cgroups.enabled }}
- name: cgroup
  mountPath: /host/sys/fs/cgroup
  readOnly: true
{{- end }}
{{- if .Values.tracefs.enabled }}
- name: tracefs
  mountPath: /sys/kernel/tracing
  readOnly: true
{{- end }}
{{- if .Values.podResources.enabled }}
- name: pod-resources
  mountPath: /var/lib/kubelet/pod-resources
  readOnly: true
{{- end }}
{{- with (.Values.nvidia).driverRoot }}
- name: nvidia-driver
  mountPath: {{ . }}
  readOnly: true
  # A driver container mounts its root there, possibly after the agent's start.
  mountPropagation: HostToContainer
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "inferscope.volumes" -}}
- name: config
  {{- if .Values.configInSecret }}
  secret:
    secretName: {{ include "inferscope.fullname" . }}
    defaultMode: 0400
  {{- else }}
  configMap:
    name: {{ include "inferscope.fullname" . }}
  {{- end }}
{{- with include "inferscope.webSecret" . }}
- name: web
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with (.Values.web).tlsSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- with (.Values.web).tokenSecret }}
- name: token
  secret:
    secretName: {{ . }}
    defaultMode: 0400
    items: [{key: token, path: token}]
{{- end }}
{{- if .Values.cgroups.enabled }}
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- end }}
{{- if .Values.tracefs.enabled }}
- name: tracefs
  hostPath:
    path: /sys/kernel/tracing
    type: Directory
{{- end }}
{{- if .Values.podResources.enabled }}
- name: pod-resources
  hostPath:
    path: {{ .Values.podResources.hostPath }}
    type: Directory
{{- end }}
{{- with (.Values.nvidia).driverRoot }}
- name: nvidia-driver
  hostPath:
    path: {{ . }}
    type: Directory
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
