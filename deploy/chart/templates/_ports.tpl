{{- /* Adds ports: a list of name, number, and service, the Service's port, which the probe port does not have. */ -}}
{{- define "twistserve.ports" -}}
{{- $it := . }}
{{- $services := .facts.ports.service }}
{{- $ports := list }}
{{- if index .force "no-probe" }}
  {{- fail (printf "%s: Kubernetes would have nothing to ask: leave it out" (include "twistserve.at" (dict "it" . "word" "no-probe"))) }}
{{- end }}
{{- if not .facts.container.consumes }}
{{- range .force.endpoint }}
  {{- $of := printf "%s: %q" (include "twistserve.at" (dict "it" $it "word" "endpoint")) . }}
  {{- /* Twisted's syntax: parts between colons, some of them key=value; a backslash takes a colon's meaning. */}}
  {{- $parts := trimPrefix "haproxy:" . | replace "\\:" "\x01" | splitList ":" }}
  {{- $kind := first $parts }}
  {{- $places := list }}
  {{- $keys := dict }}
  {{- range rest $parts }}
    {{- $part := replace "\x01" ":" . }}
    {{- if contains "=" $part }}
      {{- $_ := set $keys (regexReplaceAll "=.*" $part "") (regexReplaceAll "^[^=]*=" $part "") }}
    {{- else }}
      {{- $places = append $places $part }}
    {{- end }}
  {{- end }}
  {{- $place := eq $kind "tls" | ternary 1 0 }}
  {{- $number := $keys.port | default "443" }}
  {{- if gt (len $places) $place }}{{- $number = index $places $place }}{{- end }}
  {{- if not (and (has $kind (list "tcp" "tcp6" "ssl" "tls")) (regexMatch "^[0-9]+$" $number)) }}
    {{- fail (printf "%s has no port that a Service could send requests to: give one of tcp, ssl or tls, such as tcp:8000" $of) }}
  {{- end }}
  {{- if and $keys.interface (not (has $keys.interface $it.facts.ports.everywhere)) }}
    {{- fail (printf "%s is not reached from outside the pod at %s: leave the interface out" $of $keys.interface) }}
  {{- end }}
  {{- include "twistserve.unprivileged" (dict "it" $it "at" $of "number" $number) }}
  {{- $scheme := has $kind (list "ssl" "tls") | ternary "https" "http" }}
  {{- $same := 0 }}
  {{- range $ports }}{{- if eq .scheme $scheme }}{{- $same = add1 $same }}{{- end }}{{- end }}
  {{- if $same }}
    {{- $ports = append $ports (dict "scheme" $scheme "name" (printf "%s-%d" $scheme (add1 $same)) "number" (int $number) "service" (int $number)) }}
  {{- else }}
    {{- $ports = append $ports (dict "scheme" $scheme "name" $scheme "number" (int $number) "service" (get $services $scheme | int)) }}
  {{- end }}
{{- else }}
  {{- include "twistserve.reachable" (dict "it" . "word" "host") }}
  {{- include "twistserve.unprivileged" (dict "it" . "at" (include "twistserve.at" (dict "it" . "word" "port")) "number" .force.port) }}
  {{- $ports = append $ports (dict "name" "http" "number" (int .force.port) "service" (int $services.http)) }}
{{- end }}
{{- end }}
{{- if not .shared }}
  {{- include "twistserve.reachable" (dict "it" . "word" (hasKey .said "probe-host" | ternary "probe-host" "host")) }}
  {{- include "twistserve.unprivileged" (dict "it" . "at" (include "twistserve.at" (dict "it" . "word" "probe-port")) "number" (index .force "probe-port")) }}
  {{- $ports = append $ports (dict "name" .facts.ports.probes "number" (int (index .force "probe-port"))) }}
{{- end }}
{{- $_ := set . "ports" $ports }}
{{- $_ := set . "probePort" (last $ports).name }}
{{- end }}

{{- define "twistserve.reachable" -}}
{{- $host := get .it.force .word }}
{{- if and $host (not (has $host .it.facts.ports.everywhere)) }}
  {{- $clients := eq .word "host" | ternary "the Service and the kubelet" "the kubelet and Prometheus" }}
  {{- fail (printf "%s: %s is not the pod's address, to which %s connect: leave it out, or give 0.0.0.0" (include "twistserve.at" .) $host $clients) }}
{{- end }}
{{- end }}

{{- define "twistserve.unprivileged" -}}
{{- if lt (int .number) (int .it.facts.ports.privileged) }}
  {{- fail (printf "%s: %d is a port that only a privileged process may open, and the pod's is not: give one from %d; the Service has port 80 in front of it" .at (int .number) (int .it.facts.ports.privileged)) }}
{{- end }}
{{- end }}

{{- /* The port that an Ingress or an HTTPRoute sends requests to, by the name and number of the Service's port. */ -}}
{{- define "twistserve.http" -}}
{{- $found := false }}
{{- range .it.ports }}{{- if eq .name "http" }}{{- $found = true }}{{- end }}{{- end }}
{{- if not $found }}
  {{- fail (printf "%s speaks HTTP to pods, and the endpoints of the options have TLS alone: leave one of them out" .of) }}
{{- end }}
{{- end }}
