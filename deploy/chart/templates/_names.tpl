{{/* One Loam a cluster: the driver's name is taken once, so nothing carries the release's name. */}}
{{- define "loam.selector" -}}
app.kubernetes.io/name: loam
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- define "loam.labels" -}}
app.kubernetes.io/name: loam
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{/* A pool as --pool takes it. */}}
{{- define "loam.pool" -}}
{{ .name }}={{ .path }}
{{- with .overcommit }},overcommit={{ . }}{{ end }}
{{- with .reserved }},reserved={{ . }}{{ end }}
{{- if hasKey . "init" }},init={{ .init }}{{ end }}
{{- if .mounted }},mounted=true{{ end }}
{{- with .tenants }},tenants={{ . }}{{ end }}
{{- with .discover }},discover={{ . }}{{ end }}
{{- end -}}

{{- define "loam.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where the process is: its Leases and capacity objects lie in its own namespace. */}}
{{- define "loam.podEnvironment" -}}
{{- range $name, $field := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $field }}
{{- end }}
{{- end -}}

{{- define "loam.probes" -}}
ports:
  - name: observe
    containerPort: {{ .Values.settings.observePort }}
# only what a new start could mend: no pool, no API server that is away
livenessProbe:
  httpGet:
    path: /healthz
    port: observe
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: observe
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
