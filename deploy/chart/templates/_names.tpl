{{/* One Loam a cluster: the driver's name is taken once, so nothing carries the release's name. */}}
{{- define "loam.selector" -}}
app.kubernetes.io/name: loam
app.kubernetes.io/component: node
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
{{- end -}}
