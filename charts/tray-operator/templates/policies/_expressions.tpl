{{/* What several policies share: whom they are about, and how to read what they judge. */}}

{{/* matchConstraints.namespaceSelector: the namespaces of orgs. */}}
{{- define "tray.orgNamespaces" -}}
matchExpressions:
  - {key: platform.tray.ai/org, operator: Exists}
{{- end }}

{{/* CEL: the request is the operator's. */}}
{{- define "tray.isOperator" -}}
request.userInfo.username == '{{ include "tray.operatorUser" . }}'
{{- end }}

{{/* CEL: the request is of one of Kubernetes' own controllers: they empty a namespace that is deleted, make every
     namespace's default account, collect garbage and bind volumes. */}}
{{- define "tray.isKubernetes" -}}
request.userInfo.username.startsWith('system:serviceaccount:kube-system:') || request.userInfo.username in ['system:kube-controller-manager', 'system:kube-scheduler', 'system:apiserver']
{{- end }}

{{/* CEL: a pod, or a template of pods, is a mover's: {{ include "tray.isMover" "object" }}. What may be one, tray-mover-pods says. */}}
{{- define "tray.isMover" -}}
({{ . }}.?metadata.?labels[?'platform.tray.ai/component'].orValue('') == 'mover' || {{ . }}.spec.?serviceAccountName.orValue('') == 'tray-mover' || {{ . }}.spec.?priorityClassName.orValue('') == 'tray-mover')
{{- end }}

{{/* CEL: movers' Jobs have names like that: {{ include "tray.isMoversName" "name" }}. A run's id follows, or the first group of a
     UUID. */}}
{{- define "tray.isMoversName" -}}
{{ . }}.matches('^(snap|restore|prune)-([0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{8})(-|$)')
{{- end }}

{{/* CEL: the operator's Secrets have names like that: {{ include "tray.isOperatorsSecret" "name" }}. The second form is that of
     movers' Secrets that were named like their Jobs. `names::is_operators_secret` says the same. */}}
{{- define "tray.isOperatorsSecret" -}}
({{ . }}.startsWith('tray-') || {{ include "tray.isMoversName" . }})
{{- end }}

{{/* CEL: the Job, or what a CronJob makes, is labelled as a mover's: {{ include "tray.isMoversJob" "object" }} */}}
{{- define "tray.isMoversJob" -}}
(request.resource.resource == 'jobs' ? {{ . }}.metadata.?labels[?'platform.tray.ai/component'].orValue('') : request.resource.resource == 'cronjobs' ? {{ . }}.spec.jobTemplate.?metadata.?labels[?'platform.tray.ai/component'].orValue('') : '') == 'mover'
{{- end }}

{{/* resourceRules: everything that makes pods. Refused there, too, so that whoever applies it is told. */}}
{{- define "tray.podTemplates" -}}
- {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [replicationcontrollers], scope: Namespaced}
- apiGroups: [apps]
  apiVersions: [v1]
  operations: [CREATE, UPDATE]
  resources: [daemonsets, deployments, replicasets, statefulsets]
  scope: Namespaced
- {apiGroups: [batch], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [cronjobs, jobs], scope: Namespaced}
{{- end }}

{{/* CEL: the pod, or the template of pods, in `object` or `oldObject`: {{ include "tray.template" "object" }} */}}
{{- define "tray.template" -}}
request.resource.resource == 'pods' ? {{ . }} : request.resource.resource == 'cronjobs' ? {{ . }}.spec.jobTemplate.spec.template : {{ . }}.spec.template
{{- end }}

{{/* Variables of a policy on pods and their templates: the spec, where it stands, and whether it is new. */}}
{{- define "tray.podVariables" -}}
- name: pod
  expression: >-
    ({{ include "tray.template" "object" }}).spec
- name: at
  expression: >-
    request.resource.resource == 'pods' ? 'spec' :
    request.resource.resource == 'cronjobs' ? 'spec.jobTemplate.spec.template.spec' : 'spec.template.spec'
# What is there already can still be scaled, labelled and cleaned up.
- name: unchanged
  expression: >-
    request.operation == 'UPDATE' && variables.pod == ({{ include "tray.template" "oldObject" }}).spec
{{- end }}

{{/* resourceRules: debug containers, which come into pods that run. */}}
{{- define "tray.debugContainers" -}}
- {apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [pods/ephemeralcontainers], scope: Namespaced}
{{- end }}

{{/* Variables, after those of the pod: whether it is debug containers that come, and the containers that come. Those that a pod
     has already neither change nor go, so they do not keep others out. */}}
{{- define "tray.containerVariables" -}}
- name: debug
  expression: request.?subResource.orValue('') == 'ephemeralcontainers'
- name: containers
  expression: >-
    variables.debug
    ? object.spec.?ephemeralContainers.orValue([]).filter(c, !(c in oldObject.spec.?ephemeralContainers.orValue([])))
    : variables.pod.containers + variables.pod.?initContainers.orValue([])
{{- end }}
