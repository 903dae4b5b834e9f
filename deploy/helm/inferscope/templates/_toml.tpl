{{/*
The configuration as TOML. Helm's toToml writes the whole numbers of values.yaml as floats (8388608.0), which the agent
refuses: values are numbers of one kind only there. JSON's texts, numbers, booleans and lists of these are TOML as well.
*/}}

{{/* The configuration: values.config, and what has values of its own, which wins. */}}
{{- define "inferscope.config" -}}
{{- $config := deepCopy (default dict .Values.config) }}
{{- if not .Values.kubernetes.enabled }}
{{- $config = mergeOverwrite $config (dict "kubernetes" (dict "enabled" false)) }}
{{- else if .Values.kubernetes.podLabels }}
{{- $config = mergeOverwrite $config (dict "kubernetes" (dict "pod_labels" .Values.kubernetes.podLabels)) }}
{{- end }}
{{- if include "inferscope.webSecret" . }}
{{- $config = mergeOverwrite $config (dict "web" (dict "config_file" "/etc/inferscope/web/web.yml")) }}
{{- end }}
{{- with (.Values.nvidia).library }}
{{- $config = mergeOverwrite $config (dict "nvml" (dict "library" .)) }}
{{- end }}
{{- include "inferscope.toml" (dict "path" "" "table" $config) | trim }}
{{- end }}

{{/* One table: its values first, then its tables, then its lists of tables, as TOML wants it. */}}
{{- define "inferscope.toml" -}}
{{- $path := .path }}
{{- $table := .table }}
{{- range $key, $value := $table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (include "inferscope.isTables" $value)) }}
{{ include "inferscope.tomlKey" $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}
{{- $name := printf "%s%s" $path (include "inferscope.tomlKey" $key) }}

[{{ $name }}]
{{- include "inferscope.toml" (dict "path" (printf "%s." $name) "table" $value) }}
{{- end }}
{{- end }}
{{- range $key, $value := $table }}
{{- if include "inferscope.isTables" $value }}
{{- $name := printf "%s%s" $path (include "inferscope.tomlKey" $key) }}
{{- range $value }}

[[{{ $name }}]]
{{- include "inferscope.toml" (dict "path" (printf "%s." $name) "table" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "inferscope.isTables" -}}
{{- if kindIs "slice" . }}
{{- with first . }}
{{- if kindIs "map" . }}yes{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "inferscope.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end }}
{{- end }}
