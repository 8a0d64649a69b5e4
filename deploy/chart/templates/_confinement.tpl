{{/*
What the policies of the node's account have in common. A policy is for one kind, since the API server checks the types of an
expression for each kind that it is for.
*/}}

{{/* Whose requests, and that nothing gets through where the policy cannot be asked. */}}
{{- define "loam.confinement.subject" -}}
failurePolicy: Fail
matchConditions:
  - name: is-the-account-of-the-nodes
    expression: request.userInfo.username == 'system:serviceaccount:{{ .Release.Namespace }}:loam-node'
{{- end -}}

{{/* The node: from the token, which kubelet asked for on behalf of a pod that runs there. */}}
{{- define "loam.confinement.variables" -}}
- name: node
  expression: request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
# a collection that is deleted has none
- name: name
  expression: "request.?name.orValue(oldObject == null ? '' : oldObject.metadata.name)"
# what was there and what would be: an update has both, CREATE and DELETE one
- name: both
  expression: '[object, oldObject].filter(each, each != null)'
{{- end -}}

{{/* Values of the topology key that can be this node's: its name, or of a longer name the beginning and a hash, see topology-value.ts. */}}
{{- define "loam.confinement.topology" -}}
- name: shortened
  expression: "variables.node.size() <= 63 ? '' : variables.node.substring(0, 52).find('^.*[a-zA-Z0-9]') + '-'"
{{- end -}}

{{/* Whether a value is. CEL has no hash: names of more than 63 characters that begin alike are told apart by nothing here. */}}
{{- define "loam.confinement.isOwn" -}}
(variables.shortened == '' ? {{ . }} == variables.node : {{ . }}.startsWith(variables.shortened) && {{ . }}.size() == variables.shortened.size() + 10)
{{- end -}}

{{/* Labels and annotations of an update, before and after. */}}
{{- define "loam.confinement.metadata" -}}
{{- range list "labels" "annotations" }}
- name: {{ . }}
  expression: object.metadata.?{{ . }}.orValue({})
- name: old{{ title . }}
  expression: oldObject.metadata.?{{ . }}.orValue({})
{{- end }}
{{- end -}}

{{/* Whether only labels and annotations of ours come, go or change, and annotations of the protocol: `mayGo` only go, `mayChange` do either. */}}
{{- define "loam.confinement.onlyOurKeys" -}}
{{- range $of := list "labels" "annotations" }}
{{- $old := printf "variables.old%s" (title $of) }}
{{- $more := "" }}
{{- if eq $of "annotations" }}{{ range $.mayChange }}{{ $more = printf "%skey == '%s' || " $more . }}{{ end }}{{ end }}
variables.{{ $of }}.all(key, key.startsWith('loam.dev/') || {{ $more }}(key in {{ $old }} && {{ $old }}[key] == variables.{{ $of }}[key])) &&
{{- if and $.mayGo (eq $of "annotations") }}{{ $more = printf "%skey == '%s' || " $more $.mayGo }}{{ end }}
{{ $old }}.all(key, key.startsWith('loam.dev/') || {{ $more }}key in variables.{{ $of }}) &&
{{- end }}
object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([])
{{- end -}}

{{/* Whether of the finalizers only this one comes or goes. */}}
{{- define "loam.confinement.onlyFinalizer" -}}
object.metadata.?finalizers.orValue([]).filter(each, each != '{{ . }}') ==
oldObject.metadata.?finalizers.orValue([]).filter(each, each != '{{ . }}')
{{- end -}}

{{/* Whether these fields are what they were; the argument is the parent and the fields' names. */}}
{{- define "loam.confinement.same" -}}
{{- $of := .of }}
{{- range $index, $field := .fields }}{{ if $index }} &&
{{ end }}object.{{ $of }}.?{{ $field }} == oldObject.{{ $of }}.?{{ $field }}{{ end }}
{{- end -}}

{{- define "loam.confinement.named" -}}
- expression: variables.node != ''
  reason: Forbidden
  messageExpression: >-
    request.operation + ' of {{ . }} ' + variables.name + ' refused: the token of loam-node names no node;
    it has to be one that kubelet got for a pod of that node'
{{- end -}}

{{- define "loam.confinement.refusal" -}}
reason: Forbidden
messageExpression: >-
  request.operation + ' of {{ .kind }} ' + variables.name + ' by node ' + variables.node + ' refused: {{ .why }}'
{{- end -}}

{{- define "loam.confinement.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "loam.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end -}}
