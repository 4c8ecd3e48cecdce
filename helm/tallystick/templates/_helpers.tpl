{{/* Names and labels, what is required of the values, and the parts that all pods share. */}}

{{- define "tallystick.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: the longest suffix and a pod's own stay within the 63 of a label. A Service's name must begin
with a letter; that of a release need not. */}}
{{- define "tallystick.fullname" -}}
{{- $name := include "tallystick.name" . -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "fullnameOverride is required for the release %q: the names of Services begin with a letter" .Release.Name) -}}
{{- end -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The labels that select. (dict "root" $ "component" "credits") */}}
{{- define "tallystick.selector" -}}
app.kubernetes.io/name: {{ include "tallystick.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "tallystick.labels" -}}
{{ include "tallystick.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tallystick
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tallystick.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "tallystick.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "tallystick.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository is required: where your cluster pulls the image from" $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The Secret of the migration's database URL: its own, or the service's. */}}
{{- define "tallystick.migrationSecret" -}}
{{- $secret := .Values.migration.database.existingSecret | default .Values.database.existingSecret -}}
{{- required "database.existingSecret is required by the migration: name the Secret that holds the database's URL" $secret -}}
{{- end -}}

{{- define "tallystick.migrationKey" -}}
{{- ternary .Values.migration.database.key .Values.database.key (not (empty .Values.migration.database.existingSecret)) -}}
{{- end -}}

{{- define "tallystick.catalogueConfigMap" -}}
{{- $catalogue := .Values.catalogue -}}
{{- if and $catalogue.toml $catalogue.existingConfigMap -}}
{{- fail "catalogue.toml and catalogue.existingConfigMap are both given: choose one" -}}
{{- else if $catalogue.existingConfigMap -}}
{{- $catalogue.existingConfigMap -}}
{{- else -}}
{{- $_ := required "catalogue.toml (or catalogue.existingConfigMap) is required by the credits role: what is sold" $catalogue.toml -}}
{{- printf "%s-catalogue" (include "tallystick.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Where the edge finds the credits role: a Service with one virtual address, so that a new connection never waits for
an old DNS answer. */}}
{{- define "tallystick.creditsAddress" -}}
{{- $edge := .Values.edge -}}
{{- if $edge.creditsAddress -}}
{{- $edge.creditsAddress -}}
{{- else if .Values.credits.enabled -}}
{{- printf "%s-credits.%s.svc:7070" (include "tallystick.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- fail "edge.creditsAddress is required when credits.enabled is false: host:port of the credits role" -}}
{{- end -}}
{{- end -}}

{{- define "tallystick.podSecurityContext" -}}
runAsNonRoot: true
{{- range $field, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{ $field }}: {{ $value | int64 }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tallystick.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where to listen, unless it is where the program listens by itself. (dict "root" $ "flag" "grpc-addr" "port" 7070) */}}
{{- define "tallystick.listen" -}}
{{- if .root.Values.ipv6 -}}
- {{ printf "--%s=[::]:%d" .flag .port | quote }}
- "--ops-addr=[::]:7073"
{{- end -}}
{{- end -}}

{{/* What is logged, in every container. */}}
{{- define "tallystick.logEnv" -}}
- name: TALLYSTICK_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- with .Values.log.filter }}
- name: TALLYSTICK_LOG
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What else a role's container gets. A setting of the program has a value of its own here, so that no role is handed
what it must not have. (dict "name" "edge" "env" .Values.edge.extraEnv) */}}
{{- define "tallystick.extraEnv" -}}
{{- range .env }}
{{- if regexMatch "^(TALLYSTICK_|PG)" .name }}
{{- fail (printf "%s.extraEnv: %s is set by a value of the chart; extraEnv is for others, such as OTEL_*" $.name .name) }}
{{- end }}
{{- end }}
{{- with .env }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "secret" name "key" key). The program reads the URL from a variable; the manifest only refers to it. */}}
{{- define "tallystick.databaseEnv" -}}
- name: TALLYSTICK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- if .root.Values.database.ca.existingConfigMap }}
- name: PGSSLROOTCERT
  value: /etc/tallystick/database-ca.crt
{{- end }}
{{- end -}}

{{- define "tallystick.databaseCa" -}}
- configMap:
    name: {{ .Values.database.ca.existingConfigMap }}
    items: [{ key: {{ .Values.database.ca.key }}, path: database-ca.crt }]
{{- end -}}

{{/* Alive when it answers at all; ready by its own checks, which take up to 0.9 s each. */}}
{{- define "tallystick.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: ops }
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: ops }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{/* The end of a pod: Services forget it while it still accepts, then SIGTERM. No shell is needed, and none is there. */}}
{{- define "tallystick.lifecycle" -}}
{{- with .Values.shutdown.preStopSleepSeconds -}}
lifecycle:
  preStop:
    sleep: { seconds: {{ . }} }
{{- end }}
{{- end -}}

{{/* What the Deployments of both roles have in common in their pods' spec. (dict "root" $ "role" .Values.edge "component" "edge") */}}
{{- define "tallystick.podCommon" -}}
serviceAccountName: {{ include "tallystick.serviceAccountName" .root }}
automountServiceAccountToken: false
# Variables that Kubernetes makes of Services' names could be taken for settings.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
# The sleep before SIGTERM, the time to end, and a little for the kubelet.
terminationGracePeriodSeconds: {{ add .root.Values.shutdown.preStopSleepSeconds .root.Values.shutdown.graceSeconds 5 }}
securityContext:
  {{- include "tallystick.podSecurityContext" .root | nindent 2 }}
{{- with .role.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if .role.topologySpreadConstraints }}
  {{- toYaml .role.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tallystick.selector" (dict "root" .root "component" .component) | nindent 8 }}
  {{- end }}
{{- end -}}
