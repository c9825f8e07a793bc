{{- /*
What all manifests are made of. A manifest begins with

    {{- $it := dict "root" $ }}{{ include "twistserve.facts" $it }}

which adds to the dict: facts (files/facts.yaml, from the Python code), name, own (the values that the options are among),
prefix (what is before their names in errors), given (the options that the container is started with), said (the same and
those of the image), force (all options, with defaults), ports, times, resources.
*/ -}}
{{- define "twistserve.facts" -}}
{{- include "twistserve.name" . }}
{{- $_ := set . "own" .root.Values }}
{{- $_ := set . "prefix" "" }}
{{- include "twistserve.options" . }}
{{- include "twistserve.patterns" . }}
{{- /* In the order in which manage.py kubernetes refuses options. */}}
{{- include "twistserve.combinations" . }}
{{- include "twistserve.sense" . }}
{{- include "twistserve.ports" . }}
{{- include "twistserve.times" . }}
{{- include "twistserve.resources" . }}
{{- end }}

{{- /* Adds facts, and name, as the web service's objects have it. */ -}}
{{- define "twistserve.name" -}}
{{- $values := .root.Values }}
{{- $facts := .root.Files.Get "files/facts.yaml" | fromYaml }}
{{- $name := $values.fullnameOverride | default .root.Release.Name }}
{{- if not (regexMatch $facts.patterns.name $name) }}
{{- fail (printf "the name %q is not valid for a Service: name the release (or set fullnameOverride) with lower-case letters, digits and dashes, at most 63, beginning with a letter" $name) }}
{{- end }}
{{- $_ := merge . (dict "facts" $facts "name" $name) }}
{{- end }}

{{- /* An option by the value that it is from; a default by its word alone. */ -}}
{{- define "twistserve.at" -}}
{{- if eq .word "handler" }}{{ .it.prefix }}
{{- else if hasKey .it.given .word }}{{ .it.prefix }}options.
{{- else if hasKey .it.said .word }}{{ .it.prefix }}imageOptions.
{{- end }}
{{- .word }}
{{- end }}

{{- /* The labels that select the pods of a component. */ -}}
{{- define "twistserve.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component | default .facts.container.name }}
{{- end }}

{{- define "twistserve.labels" -}}
{{ include "twistserve.selector" . }}
{{- with .root.Values.image.tag }}
{{- if regexMatch "^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$" . }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
{{- end }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Of an object that is named by "object", or as all others are. */ -}}
{{- define "twistserve.metadata" -}}
name: {{ .object | default .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "twistserve.labels" . | nindent 2 }}
{{- end }}
