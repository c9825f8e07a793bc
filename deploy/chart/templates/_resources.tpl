{{- /*
Adds memory and cpu as Kubernetes' quantities, temporary (MiB) and busy (percent). twistserve/kubernetes/resources.py says
why.
*/ -}}
{{- define "twistserve.resources" -}}
{{- $facts := .facts.resources }}
{{- $values := .own.resources | default dict }}
{{- $mib := 1048576 }}
{{- $workers := int .force.workers }}
{{- $many := gt $workers 1 }}
{{- $processes := $many | ternary (add1 $workers) 1 }}
{{- $most := index .force "max-memory" | int64 }}

{{- $memory := 0 }}
{{- if $values.memory }}
  {{- $text := kindIs "string" $values.memory | ternary $values.memory (include "twistserve.text" $values.memory) }}
  {{- $unit := regexReplaceAll "[0-9]" $text "" }}
  {{- $memory = mul (trimSuffix $unit $text | int64) (get $facts.units $unit | default 1 | int64) }}
  {{- if lt $memory (int64 $facts.leastMemory) }}
    {{- fail (printf "%sresources.memory: %s is less than 32Mi, with which Python does not start: give a whole number with Mi, Gi, M or G behind it" .prefix $text) }}
  {{- end }}
  {{- if ge (mul $most $workers $mib) $memory }}
    {{- fail (printf "%s: %d MB times %d workers are not less than the %d MB of %sresources.memory, at which the kernel ends the pod: give one less or the other more" (include "twistserve.at" (dict "it" . "word" "max-memory")) $most $workers (div $memory $mib) .prefix) }}
  {{- end }}
{{- else }}
  {{- $example := $many | ternary (mul $processes (int $facts.eachProcess)) (int $facts.oneProcess) }}
  {{- $needed := max (mul (int $facts.times) $example) (mulf $facts.overMaxMemory $most $processes | ceil | int64) }}
  {{- $memory = mul (divf $needed $facts.step | ceil | int64) (int $facts.step) $mib }}
{{- end }}

{{- $cpu := mul (int $facts.cpu) $workers }}
{{- with $values.cpu }}
  {{- if and (kindIs "string" .) (hasSuffix "m" .) }}
    {{- $cpu = trimSuffix "m" . | int64 }}
  {{- else }}
    {{- $cpu = round (mulf . 1000) 0 | int64 }}
  {{- end }}
  {{- if not $cpu }}{{- fail (printf "%sresources.cpu: give CPUs, such as 1, 0.5 or 500m" $.prefix) }}{{- end }}
{{- end }}

{{- $bytes := mul 2 (int .force.threads) $workers (include "twistserve.bytes" (index .force "max-body-size") | int64) }}
{{- $metrics := $many | ternary (mul (int $facts.metrics) $workers) 0 }}

{{- $_ := set . "memory" (eq (mod $memory $mib) 0 | ternary (printf "%dMi" (div $memory $mib)) (toString $memory)) }}
{{- $_ := set . "cpu" (eq (mod $cpu 1000) 0 | ternary (div $cpu 1000) (printf "%dm" $cpu)) }}
{{- $_ := set . "temporary" (add (divf $bytes $mib | ceil | int64) $metrics (int $facts.otherFiles)) }}
{{- $_ := set . "busy" (max 1 (mulf $facts.busy (minf 1 (divf (mul 1000 $workers) $cpu)) | floor | int)) }}
{{- end }}

{{- /* The bytes that a size such as 100M is. */ -}}
{{- define "twistserve.bytes" -}}
{{- $text := include "twistserve.text" . | upper }}
{{- $unit := regexReplaceAll "[0-9]" $text "" }}
{{- mul (trimSuffix $unit $text | int64) (get (dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824) $unit) }}
{{- end }}

{{- define "twistserve.container.resources" -}}
requests:
  cpu: {{ .cpu }}
  memory: {{ .memory | quote }}
# No limit of the CPU: it would suspend the probes too, for the rest of each 100 ms.
limits:
  memory: {{ .memory | quote }}
{{- end }}
