{{- /* Options that cannot be in force together: the server would not start with them. */ -}}
{{- define "twistserve.combinations" -}}
{{- if not (index .force "no-probe") }}
  {{- include "twistserve.combinations.probes" . }}
{{- end }}
{{- if and .force.preload (eq (int .force.workers) 1) }}
  {{- fail (printf "%s: it is workers that are forked from the process with the application, and workers is 1: give 2 or more, or leave preload out" (include "twistserve.at" (dict "it" . "word" "preload"))) }}
{{- end }}
{{- end }}

{{- define "twistserve.combinations.probes" -}}
{{- $it := . }}
{{- $workers := int .force.workers }}
{{- if and (eq (int .force.port) 65535) (not (hasKey .said "probe-port")) }}
  {{- fail (printf "%s: 65535 leaves no port after it for the probes: give probe-port as well" (include "twistserve.at" (dict "it" . "word" "port"))) }}
{{- end }}
{{- $paths := list "readiness-probe" "liveness-probe" }}
{{- if hasKey .said "probe" }}
  {{- range $paths }}
    {{- if hasKey $it.said . }}
      {{- fail (printf "%s is the one path of readiness and liveness, but there is %s: leave one of them out" (include "twistserve.at" (dict "it" $it "word" "probe")) (include "twistserve.at" (dict "it" $it "word" .))) }}
    {{- end }}
  {{- end }}
  {{- $paths = list "probe" }}
{{- end }}
{{- if .shared }}
  {{- $shared := printf "%s: %d is the web port too" (include "twistserve.at" (dict "it" . "word" "probe-port")) (int .force.port) }}
  {{- $remedy := "give the probes a port of their own" }}
  {{- if gt $workers 1 }}
    {{- fail (printf "%s, where with %d workers each could tell of itself alone: %s" $shared $workers $remedy) }}
  {{- end }}
  {{- if .force.endpoint }}
    {{- fail (printf "%s, which the endpoints take the place of: %s" $shared $remedy) }}
  {{- end }}
  {{- if and (hasKey .said "probe-host") (ne (index .force "probe-host") .force.host) }}
    {{- fail (printf "%s: the probes are on the web port, which is at the address of host: leave it out, or %s" (include "twistserve.at" (dict "it" . "word" "probe-host")) $remedy) }}
  {{- end }}
{{- end }}
{{- $seen := index .force "no-status-page" | ternary (dict) (dict .facts.statusPage "the status page's JSON") }}
{{- range concat (list "startup-probe") $paths (index .force "no-metrics" | ternary (list) (list "metrics")) }}
  {{- $path := get $it.force . }}
  {{- if hasKey $seen $path }}
    {{- fail (printf "%s: %q is the path of %s too: give each a path of its own" (include "twistserve.at" (dict "it" $it "word" .)) $path (get $seen $path)) }}
  {{- end }}
  {{- $_ := set $seen $path (include "twistserve.at" (dict "it" $it "word" .)) }}
{{- end }}
{{- end }}
