{{- /* Adds start, grace and progress, in seconds, and how each probe is asked. twistserve/kubernetes/times.py says why. */ -}}
{{- define "twistserve.times" -}}
{{- $times := .facts.times }}
{{- $delay := index .force "drain-delay" | float64 }}
{{- $drain := addf $delay (index .force "graceful-timeout") }}
{{- $timeout := addf (index .force "check-timeout") $times.margin | ceil | int }}

{{- $steps := or .force.command (has "command" (.own.secretOptions | default list)) (index .force "check-migrations") (index .force "check-migrations-apply") }}
{{- $start := int $times.start }}
{{- if $steps }}{{- $start = int $times.startWithSteps }}{{- end }}

{{- $left := subf $delay $times.spread }}
{{- $failures := and (lt $left 2.0) (ge $left 1.0) | ternary 1 2 }}
{{- $period := int $times.readinessPeriod }}
{{- if ge $left 1.0 }}{{- $period = min $period (divf $left $failures | floor | int) }}{{- end }}

{{- $livenessFailures := int $times.livenessFailures }}
{{- if or .force.probe .shared }}
  {{- $livenessFailures = max $livenessFailures (divf $drain $times.livenessPeriod | floor | int | add1) }}
{{- end }}

{{- $_ := set . "start" $start }}
{{- $_ := set . "grace" (addf $drain $times.end | ceil | int) }}
{{- $_ := set . "progress" (add $start (int $times.progress)) }}
{{- $_ := set . "startup" (dict "period" (int $times.startupPeriod) "timeout" $timeout "failures" (div $start (int $times.startupPeriod))) }}
{{- $_ := set . "readiness" (dict "period" $period "timeout" $timeout "failures" $failures) }}
{{- $_ := set . "liveness" (dict "period" (int $times.livenessPeriod) "timeout" $timeout "failures" $livenessFailures) }}
{{- end }}

{{- define "twistserve.probe" -}}
httpGet:
  path: {{ get .it.force (printf "%s-probe" .name) }}
  port: {{ .it.probePort }}
{{- with get .it .name }}
periodSeconds: {{ .period }}
timeoutSeconds: {{ .timeout }}
failureThreshold: {{ .failures }}
{{- end }}
{{- end }}
