{{- /* Adds given, said and force. Options that follow from others are filled in, as the server does. */ -}}
{{- define "twistserve.options" -}}
{{- $given := deepCopy (.own.options | default dict) }}
{{- $said := deepCopy (.own.imageOptions | default dict) }}
{{- range .own.secretOptions }}
  {{- if hasKey $given . }}
    {{- fail (printf "%soptions.%s is in secretOptions too, which takes it from the Secret: leave one of them out" $.prefix .) }}
  {{- end }}
{{- end }}
{{- if and .root.Values.migrations.enabled (not (hasKey $given "check-migrations")) }}
  {{- $_ := set $given "check-migrations" true }}
{{- end }}
{{- /* Not by mergeOverwrite, which keeps what is true where false is to take its place. */}}
{{- range $word, $value := $given }}{{- $_ := set $said $word $value }}{{- end }}
{{- if and .root.Values.migrations.enabled (get $said "check-migrations-apply") }}
  {{- fail "migrations.enabled has a Job apply the migrations, and with check-migrations-apply the pods do: leave one of them out" }}
{{- end }}
{{- $force := deepCopy (.facts.inherited | default dict) }}
{{- range .facts.options }}
  {{- if hasKey $said .word }}
    {{- $_ := set $force .word (get $said .word) }}
  {{- else if hasKey . "default" }}
    {{- $_ := set $force .word .default }}
  {{- end }}
{{- end }}
{{- if not (hasKey $said "probe-port") }}{{- $_ := set $force "probe-port" (add1 $force.port) }}{{- end }}
{{- if not (hasKey $said "probe-host") }}{{- $_ := set $force "probe-host" $force.host }}{{- end }}
{{- if $force.probe }}
  {{- $_ := set $force "readiness-probe" $force.probe }}
  {{- $_ := set $force "liveness-probe" $force.probe }}
{{- end }}
{{- $shared := and (not .facts.container.consumes) (eq (int (get $force "probe-port")) (int $force.port)) }}
{{- if $shared }}{{- $_ := set $force "no-status-page" true }}{{- end }}
{{- $_ := set . "given" $given }}
{{- $_ := set . "said" $said }}
{{- $_ := set . "force" $force }}
{{- $_ := set . "shared" $shared }}
{{- end }}

{{- define "twistserve.patterns" -}}
{{- $it := . }}
{{- range $option := .facts.options }}
  {{- if and .pattern (hasKey $it.said .word) }}
    {{- $at := include "twistserve.at" (dict "it" $it "word" .word) }}
    {{- $value := get $it.said .word }}
    {{- range kindIs "slice" $value | ternary $value (list $value) }}
      {{- include "twistserve.valid" (dict "at" $at "value" . "pattern" $option.pattern "remedy" $option.remedy) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- $units := keys .facts.resources.units | sortAlpha | join "|" }}
{{- with .root.Values.settings }}
  {{- include "twistserve.valid" (dict "at" "settings" "value" . "pattern" `^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$` "remedy" "give a dotted Python name such as mysite.settings") }}
{{- end }}
{{- with .own.resources }}
  {{- include "twistserve.valid" (dict "at" (printf "%sresources.cpu" $it.prefix) "value" .cpu "pattern" `^(\d*[1-9]\d*m|\d+(\.\d{1,3})?)$` "remedy" "give CPUs, such as 1, 0.5 or 500m") }}
  {{- include "twistserve.valid" (dict "at" (printf "%sresources.memory" $it.prefix) "value" .memory "pattern" (printf `^\d+(%s)?$` $units) "remedy" "give at least 32Mi, a whole number with Mi, Gi, M or G behind it") }}
{{- end }}
{{- end }}

{{- /* Fails for text that an option, or another value, does not take. */ -}}
{{- define "twistserve.valid" -}}
{{- if kindIs "string" .value }}
  {{- if not (regexMatch .pattern .value) }}
    {{- fail (printf "%s: %q is not valid: %s" .at .value .remedy) }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A value as the server parses it; Helm has every number of a values file as a float. */ -}}
{{- define "twistserve.text" -}}
{{- if kindIs "float64" . -}}
{{ regexReplaceAll "\\.?0+$" (printf "%.9f" .) "" }}
{{- else -}}
{{ . }}
{{- end }}
{{- end }}

{{- /* A text in which Kubernetes does not expand $(NAME), in quotes. */ -}}
{{- define "twistserve.literal" -}}
{{ . | replace "$" "$$" | toJson }}
{{- end }}

{{- define "twistserve.variable" -}}
{{ .it.facts.environment.prefix }}{{ .word | upper | replace "-" "_" }}
{{- end }}

{{- define "twistserve.args" -}}
{{- $it := . }}
{{- range .facts.options }}
  {{- $word := .word }}
  {{- if hasKey $it.given $word }}
    {{- $value := get $it.given $word }}
    {{- if kindIs "bool" $value }}
      {{- if $value }}
- --{{ $word }}
      {{- else if .negatable }}
- --no-{{ $word }}
      {{- end }}
    {{- else }}
      {{- range kindIs "slice" $value | ternary $value (list $value) }}
- {{ include "twistserve.literal" (printf "--%s=%s" $word (include "twistserve.text" .)) }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "twistserve.env" -}}
{{- $it := . }}
{{- with .root.Values.settings }}
- name: {{ $it.facts.environment.settings }}
  value: {{ . | quote }}
{{- end }}
{{- range .facts.options }}
  {{- $value := get $it.given .word }}
  {{- if and (kindIs "bool" $value) (not $value) (not .negatable) }}
# There is no argument that turns it off, and the image may have it on.
- name: {{ include "twistserve.variable" (dict "it" $it "word" .word) }}
  value: "false"
  {{- end }}
{{- end }}
{{- range .facts.options }}
  {{- if has .word ($it.own.secretOptions | default list) }}
    {{- $variable := include "twistserve.variable" (dict "it" $it "word" .word) }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "twistserve.secret" $it }}
      key: {{ $variable }}
  {{- end }}
{{- end }}
- name: TMPDIR
  value: {{ .facts.container.temporary }}
{{- with .root.Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The Secret that has the values of secretOptions. */ -}}
{{- define "twistserve.secret" -}}
{{ .own.secretName | default (printf "%s-secrets" .name) }}
{{- end }}
