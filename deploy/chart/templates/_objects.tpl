{{- /* The objects that the web service and a consumer have alike. */ -}}
{{- define "twistserve.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "twistserve.metadata" . | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- define "twistserve.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "twistserve.metadata" . | nindent 2 }}
spec:
  # As minAvailable it would keep a node from being drained of the last pod.
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "twistserve.selector" . | nindent 6 }}
{{- end }}

{{- define "twistserve.podMonitor" -}}
{{- $it := . }}
{{- with .root.Values.podMonitor }}
{{- with .interval }}
{{- include "twistserve.valid" (dict "at" "podMonitor.interval" "value" . "pattern" `^(\d+(ms|s|m|h))+$` "remedy" "give a duration such as 30s") }}
{{- end }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "twistserve.metadata" $it | nindent 2 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "twistserve.selector" $it | nindent 6 }}
  podMetricsEndpoints:
    - port: {{ $it.probePort }}
      path: {{ $it.force.metrics }}
      {{- with .interval }}
      interval: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
