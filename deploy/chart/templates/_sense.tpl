{{- /* Values that make no sense in a cluster. */ -}}
{{- define "twistserve.sense" -}}
{{- $it := . }}
{{- $values := .root.Values }}
{{- include "twistserve.sense.pod" . }}
{{- if not (int (index .force "req-queue-len")) }}
  {{- fail (printf "%s: 0 makes the readiness probe fail always, so that no pod would ever get requests: give 1 or more" (include "twistserve.at" (dict "it" . "word" "req-queue-len"))) }}
{{- end }}
{{- if index .force "no-metrics" }}
  {{- $at := include "twistserve.at" (dict "it" . "word" "no-metrics") }}
  {{- if $values.prometheusRule.enabled }}
    {{- fail (printf "prometheusRule: there are no metrics with %s: leave one of them out" $at) }}
  {{- end }}
  {{- if and $values.autoscaling.enabled (ne $values.autoscaling.by "cpu") }}
    {{- fail (printf "autoscaling.by: %s goes by metrics, and there are none with %s: leave one of them out" $values.autoscaling.by $at) }}
  {{- end }}
{{- end }}
{{- range $values.env }}
  {{- if or (hasPrefix $it.facts.environment.prefix .name) (hasPrefix "HURRICANE_" .name) }}
    {{- fail (printf "env: %s is an option of the server: give it in options, so that probes, ports and times follow it" .name) }}
  {{- else if eq .name $it.facts.environment.settings }}
    {{- fail (printf "env: %s is the value settings of this chart: give it there" .name) }}
  {{- else if eq .name "TMPDIR" }}
    {{- fail "env: TMPDIR is where the pod has its temporary files: leave it out" }}
  {{- end }}
{{- end }}
{{- if and $values.autoscaling.enabled (not (kindIs "invalid" $values.replicas)) }}
  {{- fail "replicas is a fixed number, and autoscaling.enabled an autoscaler's: leave replicas out, or set autoscaling.enabled to false" }}
{{- end }}
{{- if not (or $values.autoscaling.enabled $values.replicas) }}
  {{- fail "autoscaling.enabled is false, and there is no number of pods: give replicas" }}
{{- end }}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}
  {{- fail (printf "autoscaling.maxReplicas: %d is less than minReplicas, %d: give it as many or more" (int $values.autoscaling.maxReplicas) (int $values.autoscaling.minReplicas)) }}
{{- end }}
{{- end }}

{{- /* The same for what neither the web service nor a consumer can have. */ -}}
{{- define "twistserve.sense.pod" -}}
{{- $it := . }}
{{- range $word, $why := .facts.development }}
  {{- if get $it.force $word }}
    {{- fail (printf "%s is for development: %s; leave it out" (include "twistserve.at" (dict "it" $it "word" $word)) $why) }}
  {{- end }}
{{- end }}
{{- if and (index .force "no-metrics") .root.Values.podMonitor.enabled }}
  {{- fail (printf "podMonitor: there are no metrics with %s: leave one of them out" (include "twistserve.at" (dict "it" . "word" "no-metrics"))) }}
{{- end }}
{{- range $word, $value := .given }}
  {{- range kindIs "slice" $value | ternary $value (list $value) }}
    {{- if or (has $word $it.facts.secret) (regexMatch $it.facts.patterns.password (toString .)) }}
      {{- fail (printf "%soptions.%s has a secret, which everybody could read in the Deployment: put the word %s into %ssecretOptions, and the value into the Secret %s" $it.prefix $word $word $it.prefix (include "twistserve.secret" $it)) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "twistserve.image" -}}
{{- with .root.Values.image }}
  {{- if not .repository }}
    {{- fail "image.repository: give the image of your project, such as registry.example/shop, and its tag as image.tag" }}
  {{- end }}
  {{- $image := .repository }}
  {{- with .tag }}{{- $image = printf "%s:%s" $image . }}{{- end }}
  {{- with .digest }}{{- $image = printf "%s@%s" $image . }}{{- end }}
  {{- if and .repository (not (regexMatch $.facts.patterns.image $image)) }}
    {{- fail (printf "image: %q is not valid: give a repository such as registry.example/shop, a tag such as 1, a digest such as sha256:..." $image) }}
  {{- end }}
  {{- $image }}
{{- end }}
{{- end }}
