{{- /*
What the manifests of a consumer are made of, as "twistserve.facts" is for the web service, whose templates they share: the
facts are a consumer's, where it has its own. They begin with a dict of root, key (the consumer's name) and own (its values).
Adds replicas, or scaled: the bounds, and broker, where KEDA finds it.
*/ -}}
{{- define "twistserve.consumer" -}}
{{- include "twistserve.name" . }}
{{- $prefix := printf "consumers.%s." .key }}
{{- $name := printf "%s-%s" .name .key }}
{{- if or (not (regexMatch .facts.patterns.name $name)) (not (regexMatch .facts.patterns.name .key)) }}
{{- fail (printf "consumers: %q is not a valid name: give lower-case letters, digits and dashes, beginning with a letter; with %s- before it at most 63" .key .name) }}
{{- end }}
{{- if eq .key "migrations" }}
{{- fail "consumers.migrations: the Job of the migrations has this name: give the consumer another" }}
{{- end }}
{{- $_ := set . "name" $name }}
{{- $_ := set . "prefix" $prefix }}
{{- $_ := set . "facts" (merge (deepCopy .facts.consumer) .facts) }}
{{- include "twistserve.options" . }}
{{- range list .given .said .force }}{{- $_ := set . "handler" $.own.handler }}{{- end }}
{{- include "twistserve.patterns" . }}
{{- include "twistserve.combinations" . }}
{{- include "twistserve.consumer.combinations" . }}
{{- include "twistserve.sense.pod" . }}
{{- include "twistserve.ports" . }}
{{- include "twistserve.times" . }}
{{- include "twistserve.resources" . }}
{{- $_ := set . "temporary" .facts.container.temporaryFiles }}
{{- include "twistserve.consumer.scaling" . }}
{{- end }}

{{- define "twistserve.consumer.combinations" -}}
{{- $it := . }}
{{- $secrets := .own.secretOptions | default list }}
{{- if or (hasKey .said "amqp-url") (has "amqp-url" $secrets) }}
  {{- range list "amqp-host" "amqp-port" "amqp-vhost" }}
    {{- if hasKey $it.said . }}
      {{- fail (printf "%s: amqp-url says where the broker is too: leave one of them out" (include "twistserve.at" (dict "it" $it "word" .))) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "twistserve.consumer.scaling" -}}
{{- $scaling := .facts.queueScaling }}
{{- $own := .own }}
{{- range list "minReplicas" "maxReplicas" }}
  {{- if and $own.replicas (get $own .) }}
    {{- fail (printf "%sreplicas is a fixed number, and %s an autoscaler's: leave one of them out" $.prefix .) }}
  {{- end }}
{{- end }}
{{- $least := int $scaling.minReplicas }}
{{- if $own.minReplicas }}{{- $least = int $own.minReplicas }}{{- else if $own.maxReplicas }}{{- $least = min $least $own.maxReplicas }}{{- end }}
{{- $most := $own.maxReplicas | default (max $least $scaling.maxReplicas) | int }}
{{- if gt $least $most }}
  {{- fail (printf "%smaxReplicas: %d is less than minReplicas, %d: give it as many or more" .prefix $most $least) }}
{{- end }}
{{- $url := get .said "amqp-url" }}
{{- $secrets := $own.secretOptions | default list }}
{{- $broker := dict }}
{{- if has "amqp-url" $secrets }}
  {{- $broker = dict "hostFromEnv" (include "twistserve.variable" (dict "it" . "word" "amqp-url")) }}
{{- else if and $url (not (regexMatch .facts.patterns.password $url)) }}
  {{- $broker = dict "host" $url }}
{{- end }}
{{- if and $broker (has "amqp-user" $secrets) (has "amqp-password" $secrets) }}
  {{- $_ := set $broker "usernameFromEnv" (include "twistserve.variable" (dict "it" . "word" "amqp-user")) }}
  {{- $_ := set $broker "passwordFromEnv" (include "twistserve.variable" (dict "it" . "word" "amqp-password")) }}
{{- else if and $broker.host (or (has "amqp-user" $secrets) (has "amqp-password" $secrets) (get .said "amqp-user") (get .said "amqp-password")) }}
  {{- $broker = dict }}
{{- end }}
{{- if or $own.replicas (not $broker) }}
  {{- $_ := set . "replicas" ($own.replicas | default $least | int) }}
{{- else }}
  {{- if not .force.queue }}
    {{- fail (printf "%soptions.queue: KEDA has to know the queue: give it, or %sreplicas for a fixed number of pods" .prefix .prefix) }}
  {{- end }}
  {{- $_ := set . "scaled" (dict "least" $least "most" $most "length" ($own.queueLength | default $scaling.length | int) "broker" $broker) }}
{{- end }}
{{- end }}
