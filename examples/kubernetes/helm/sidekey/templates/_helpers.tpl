{{/* For charts of your own: dependencies of this one include "sidekey.sidecar" first under initContainers, "sidekey.volumes" under volumes,
     "sidekey.env" and "sidekey.mounts" in each container.  The context is one with these values under .Values. */}}

{{- define "sidekey.labels" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sidekey.sidecar" -}}
- name: sidekey
  image: {{ .Values.sidekey.image | quote }}
  restartPolicy: Always
  args: [serve, --config, /etc/sidekey/sidekey.yaml]
  ports:
    - {name: admin, containerPort: {{ .Values.sidekey.adminPort }}}
  startupProbe:
    httpGet: {path: /readyz, port: admin}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readyz, port: admin}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: admin}
    periodSeconds: 10
  resources:
    {{- toYaml .Values.sidekey.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - {name: sidekey-config, mountPath: /etc/sidekey, readOnly: true}
    - {name: sidekey-secrets, mountPath: /run/secrets/sidekey, readOnly: true}
    - {name: sidekey-ca, mountPath: {{ .Values.sidekey.caDir }}}
    - {name: sidekey-state, mountPath: {{ .Values.sidekey.stateDir }}}
{{- end }}

{{- define "sidekey.volumes" -}}
- name: sidekey-config
  configMap: {name: sidekey}
- name: sidekey-secrets
  secret: {secretName: {{ .Values.secretName }}, defaultMode: 288}
- name: sidekey-ca
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
- name: sidekey-state
  emptyDir: {medium: Memory, sizeLimit: 4Mi}
{{- end }}

{{- define "sidekey.env" -}}
{{ toYaml .Values.env }}
{{- end }}

{{- define "sidekey.mounts" -}}
- {name: sidekey-ca, mountPath: {{ .Values.sidekey.caDir }}, readOnly: true}
{{- end }}
