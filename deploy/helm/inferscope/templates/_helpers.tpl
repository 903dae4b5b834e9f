{{/*
Names, labels and what several templates ask.

A section that a values file leaves empty, with comments only below it, is null, and Helm takes away its defaults. Of those
that are empty or off by default nothing is lost: they are asked for in parentheses, which give nothing of nothing. The
others the schema requires.
*/}}

{{- define "inferscope.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "inferscope.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "inferscope.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of cluster-wide objects: two releases in two namespaces may have the same name. */}}
{{- define "inferscope.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "inferscope.fullname" .) }}
{{- end }}

{{/* Immutable in a DaemonSet: nothing that changes from version to version belongs here. */}}
{{- define "inferscope.selectorLabels" -}}
app.kubernetes.io/name: {{ include "inferscope.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "inferscope.agentLabels" -}}
{{ include "inferscope.selectorLabels" . }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "inferscope.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "inferscope.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "inferscope.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "inferscope.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "inferscope.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* By which the agent is asked. */}}
{{- define "inferscope.scheme" -}}
{{- default "HTTP" (.Values.web).scheme }}
{{- end }}

{{/* Name of the Secret with the web configuration; empty without one. */}}
{{- define "inferscope.webSecret" -}}
{{- if and (.Values.web).config (.Values.web).existingSecret }}
{{- fail "web.config and web.existingSecret are both set: take one of them" }}
{{- end }}
{{- if and (.Values.web).config (ne (not (empty (.Values.web).config.tls_server_config)) (eq (include "inferscope.scheme" .) "HTTPS")) }}
{{- fail "web.scheme must be HTTPS if web.config has tls_server_config, and HTTP if not" }}
{{- end }}
{{- if (.Values.web).config }}
{{- include "inferscope.fullname" . }}-web
{{- else }}
{{- default "" (.Values.web).existingSecret }}
{{- end }}
{{- end }}

{{/* Whether probes can only see if the port is open: the kubelet has no client certificate. */}}
{{- define "inferscope.probesTcp" -}}
{{- $tls := default dict ((.Values.web).config).tls_server_config }}
{{- if or .Values.probes.tcp (hasPrefix "Require" (default "" $tls.client_auth_type)) }}yes{{ end }}
{{- end }}

{{/* AppArmor is a field of the container from 1.30 on, an annotation of the pod before. */}}
{{- define "inferscope.appArmorAnnotation" -}}
{{- $profile := .Values.appArmorProfile }}
{{- if and $profile.type (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) -}}
container.apparmor.security.beta.kubernetes.io/inferscope: {{ get (dict
  "Unconfined" "unconfined"
  "RuntimeDefault" "runtime/default"
  "Localhost" (printf "localhost/%s" $profile.localhostProfile)) $profile.type }}
{{- end }}
{{- end }}

{{- define "inferscope.securityContext" -}}
runAsUser: 0
runAsGroup: 0
runAsNonRoot: false
readOnlyRootFilesystem: true
{{- with .Values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.privileged }}
privileged: true
{{- else }}
privileged: false
{{- /* The API server refuses this beside SYS_ADMIN. */}}
allowPrivilegeEscalation: {{ has "SYS_ADMIN" (default list .Values.capabilities.extra) }}
capabilities:
  drop: [ALL]
  add:
    - BPF
    - PERFMON
    - SYS_PTRACE
    - SYS_NICE
    {{- if .Values.capabilities.dacReadSearch }}
    - DAC_READ_SEARCH
    {{- end }}
    {{- if .Values.capabilities.sysResource }}
    - SYS_RESOURCE
    {{- end }}
    {{- range .Values.capabilities.extra }}
    - {{ . }}
    {{- end }}
seccompProfile:
  type: {{ .Values.seccompProfile.type }}
  {{- if eq .Values.seccompProfile.type "Localhost" }}
  localhostProfile: {{ .Values.seccompProfile.localhostProfile | quote }}
  {{- end }}
{{- if and .Values.appArmorProfile.type (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
appArmorProfile:
  type: {{ .Values.appArmorProfile.type }}
  {{- if eq .Values.appArmorProfile.type "Localhost" }}
  localhostProfile: {{ .Values.appArmorProfile.localhostProfile | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
