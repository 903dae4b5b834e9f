{{/*
The groups of deploy/prometheus, changed as values.prometheusRule says. The files are parsed and the structure is
edited; braces in annotations are Prometheus's own and stay.
*/}}

{{/* All groups as a YAML list. */}}
{{- define "inferscope.ruleGroups" -}}
{{- $values := .Values.prometheusRule }}
{{- $known := dict }}
{{- $groups := list }}
{{- range $path, $bytes := .Files.Glob "rules/*.rules.yaml" }}
{{- $file := fromYaml (toString $bytes) }}
{{- if hasKey $file "Error" }}
{{- fail (printf "%s: %s" $path $file.Error) }}
{{- end }}
{{- range $group := $file.groups }}
{{- $rules := list }}
{{- range $rule := $group.rules }}
{{- if $rule.alert }}
{{- $_ := set $known $rule.alert true }}
{{- if not (has $rule.alert (default list $values.disabledAlerts)) }}
{{- $rules = append $rules (fromYaml (include "inferscope.alert" (list $values $rule))) }}
{{- end }}
{{- else }}
{{- $rules = append $rules (fromYaml (include "inferscope.recording" (list $values.slo $rule))) }}
{{- end }}
{{- end }}
{{- if $rules }}
{{- $groups = append $groups (set $group "rules" $rules) }}
{{- end }}
{{- end }}
{{- end }}
{{- range concat (default list $values.disabledAlerts) (keys (default dict $values.overrides)) }}
{{- if not (hasKey $known .) }}
{{- fail (printf "prometheusRule: there is no alert %s; known are %s" . (keys $known | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- toYaml $groups }}
{{- end }}

{{/* One alert: labels for all, the runbook's place, then what is said for this one. */}}
{{- define "inferscope.alert" -}}
{{- $values := index . 0 }}
{{- $rule := index . 1 }}
{{- $rule = mergeOverwrite $rule (dict "labels" (deepCopy (default dict $values.alertLabels))) }}
{{- with $values.runbookBaseUrl }}
{{- $url := printf "%s/%s.md" (trimSuffix "/" .) $rule.alert }}
{{- $rule = mergeOverwrite $rule (dict "annotations" (dict "runbook_url" $url)) }}
{{- end }}
{{- with get (default dict $values.overrides) $rule.alert }}
{{- $rule = mergeOverwrite $rule (deepCopy .) }}
{{- end }}
{{- toYaml $rule }}
{{- end }}

{{/* One recording rule: objectives, least numbers of requests, and latency targets. */}}
{{- define "inferscope.recording" -}}
{{- $slo := index . 0 }}
{{- $rule := index . 1 }}
{{- $labels := default dict $rule.labels }}
{{- if eq $rule.record "inferscope:slo_objective:ratio" }}
{{- $_ := set $rule "expr" (printf "vector(%v)" (get $slo $labels.sli).objective) }}
{{- else if eq $rule.record "inferscope:slo_requests_min:count" }}
{{- $_ := set $rule "expr" (printf "vector(%d)" (int64 (get $slo.minRequests $labels.window))) }}
{{- else if and (eq $rule.record "inferscope:sli_good_total") (has $labels.sli (list "ttft" "tpot")) }}
{{- $_ := set $rule "expr" (include "inferscope.latencyTarget" (list $rule.expr (get $slo $labels.sli).seconds)) }}
{{- end }}
{{- toYaml $rule }}
{{- end }}

{{/* The expression with its one `le` matcher at another edge. Prometheus 3 writes 1 as 1.0: whole numbers match both. */}}
{{- define "inferscope.latencyTarget" -}}
{{- $expr := index . 0 }}
{{- $edge := printf "%v" (index . 1) }}
{{- $matcher := "\\ble=~?\"[^\"]*\"" }}
{{- if ne (len (regexFindAll $matcher $expr -1)) 1 }}
{{- fail (printf "the rule of a latency target should have one le matcher: %s" $expr) }}
{{- end }}
{{- $new := printf "le=\"%s\"" $edge }}
{{- if not (contains "." $edge) }}
{{- $new = printf "le=~\"%s|%s[.]0\"" $edge $edge }}
{{- end }}
{{- regexReplaceAllLiteral $matcher $expr $new }}
{{- end }}
