{{/* Labels that select the operator's pods. */}}
{{- define "tray.selectorLabels" -}}
app.kubernetes.io/name: tray-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object of the chart. */}}
{{- define "tray.labels" -}}
{{ include "tray.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels that select the responder's pods: none of the operator's. */}}
{{- define "tray.responderLabels" -}}
app.kubernetes.io/name: tray-responder
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The operator's image, which is also the movers'. */}}
{{- define "tray.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The user that the operator is: the policies exempt it by this exact name, so its namespace is fixed. */}}
{{- define "tray.operatorUser" -}}
{{- if ne .Release.Namespace "tray-system" -}}
{{- fail (printf "tray-operator must be installed in namespace tray-system, not %s: its admission policies name the service account there. Use: helm install --namespace tray-system --create-namespace" .Release.Namespace) -}}
{{- end -}}
system:serviceaccount:tray-system:tray-operator
{{- end }}

{{/* The binding that makes the policy of that name refuse: {{ include "tray.policyBinding" (list . "tray-x") }} */}}
{{- define "tray.policyBinding" -}}
{{- $root := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "tray.labels" $root | nindent 4 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: [Deny]
{{- end }}
