{{- /* The template of a Deployment's pods. */ -}}
{{- define "twistserve.template" -}}
{{- $it := . -}}
metadata:
  labels:
    {{- include "twistserve.selector" $it | nindent 4 }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ $it.name }}
  {{- include "twistserve.pod" $it | nindent 2 }}
  # The drain, and 10 for the end. No preStop is needed.
  terminationGracePeriodSeconds: {{ $it.grace }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "twistserve.selector" $it | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  containers:
    - name: {{ $it.facts.container.name }}
      command: {{ toJson $it.facts.container.command }}
      {{- with include "twistserve.args" $it | trim }}
      args:
        {{- . | nindent 8 }}
      {{- end }}
      {{- include "twistserve.container" $it | nindent 6 }}
      ports:
        {{- range $it.ports }}
        - name: {{ .name }}
          containerPort: {{ .number }}
        {{- end }}
      # A start may take {{ $it.start }} seconds.
      startupProbe:
        {{- include "twistserve.probe" (dict "it" $it "name" "startup") | nindent 8 }}
      # timeoutSeconds is one more than check-timeout.
      readinessProbe:
        {{- include "twistserve.probe" (dict "it" $it "name" "readiness") | nindent 8 }}
      livenessProbe:
        {{- include "twistserve.probe" (dict "it" $it "name" "liveness") | nindent 8 }}
{{- end }}

{{- /* What the pods of every component have, the Deployment's and the Job's. */ -}}
{{- define "twistserve.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .facts.container.user }}
  runAsGroup: {{ .facts.container.user }}
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  # {{ if not .facts.container.consumes }}Two bodies of max-body-size for each request thread. {{ end }}What exceeds it evicts the pod.
  - name: temporary
    emptyDir:
      sizeLimit: {{ .temporary }}Mi
  {{- with .root.Values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "twistserve.container" -}}
image: {{ include "twistserve.image" . | quote }}
{{- with .root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
env:
  {{- include "twistserve.env" . | trim | nindent 2 }}
{{- with .root.Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- include "twistserve.container.resources" . | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: temporary
    mountPath: {{ .facts.container.temporary }}
  {{- with .root.Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
