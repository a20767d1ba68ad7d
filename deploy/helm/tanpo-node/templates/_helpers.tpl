{{- define "tanpo.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "tanpo.labels" -}}
app.kubernetes.io/name: tanpo-node
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tanpo.selector" -}}
app.kubernetes.io/name: tanpo-node
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tanpo.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "tanpo.genesis" -}}
{{- if and .Values.genesis .Values.existingGenesis }}
{{- fail "genesis and existingGenesis are both given: leave one of them out" }}
{{- end }}
{{- if not (or .Values.genesis .Values.existingGenesis) }}
{{- fail "there is no genesis: give --set-file genesis=genesis.json, or existingGenesis" }}
{{- end }}
{{- .Values.existingGenesis | default (printf "%s-genesis" (include "tanpo.name" .)) }}
{{- end }}

{{/* What the pods of the node and of its preparation have in common. */}}
{{- define "tanpo.pod" -}}
serviceAccountName: {{ .Values.serviceAccount.existing | default (include "tanpo.name" .) }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
# One machine that fails takes one validator of a network along, and not two.
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          namespaceSelector: {}
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: tanpo-node
{{- end }}
volumes:
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "tanpo.name" . }}-data
  - name: scratch
    emptyDir:
      medium: Memory
      sizeLimit: 64Mi
  - name: config
    projected:
      # Read by the node's own group, which is nobody else's.
      defaultMode: 0440
      sources:
        - configMap:
            name: {{ include "tanpo.name" . }}-config
        - configMap:
            name: {{ include "tanpo.genesis" . }}
            items:
              - key: genesis.json
                path: genesis.json
        - secret:
            name: {{ .Values.secret.existing | quote }}
            items:
              {{- range list "ca.crt" "node.crt" "node.key" }}
              - key: {{ . }}
                path: {{ . }}
              {{- end }}
              {{- if .Values.node.isValidator }}
              - key: validator.key
                path: validator.key
              {{- end }}
{{- end }}

{{- define "tanpo.container" -}}
image: {{ include "tanpo.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: data
    mountPath: /var/lib/tanpo
  - name: scratch
    mountPath: /tmp
  - name: config
    mountPath: /etc/tanpo
    readOnly: true
{{- end }}
