{{/* What is true of each kind of disk. A further kind is one more entry. With hostNetwork the node's mounts outlive its pod's network. */}}
{{- define "diskbridge.kinds" -}}
ebs: { driver: ebs.csi.diskbridge.io, attachRequired: true, fsGroupPolicy: File, seLinuxMount: true, hostNetwork: false,
  block: true, port: 9820, sidecars: [provisioner, attacher, resizer, snapshotter] }
efs: { driver: efs.csi.diskbridge.io, attachRequired: true, fsGroupPolicy: None, seLinuxMount: false, hostNetwork: true,
  block: false, port: 9830, sidecars: [provisioner, attacher, resizer] }
s3: { driver: s3.csi.diskbridge.io, attachRequired: false, fsGroupPolicy: None, seLinuxMount: false, hostNetwork: false,
  block: false, port: 9840, sidecars: [provisioner] }
{{- end }}

{{/* The ports of the sidecars of a kind by name, as YAML: dict "root" $ "kind" KIND. */}}
{{- define "diskbridge.sidecars" -}}
{{- $kind := index (include "diskbridge.kinds" . | fromYaml) .kind -}}
{{- range $n, $name := $kind.sidecars }}
{{- if dig $name "enabled" true $.root.Values.sidecars }}
{{ $name }}: {{ add1 (add $kind.port $n) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty where some kind has snapshots. */}}
{{- define "diskbridge.snapshots" -}}
{{- range .Values.backends }}
{{- if hasKey (include "diskbridge.sidecars" (dict "root" $ "kind" .) | fromYaml) "snapshotter" }}yes{{ end }}
{{- end }}
{{- end }}

{{/* Not empty where some kind needs what outlives the node plugin. */}}
{{- define "diskbridge.mounter" -}}
{{- if and .Values.mounter.enabled (or (has "efs" .Values.backends) (has "s3" .Values.backends)) -}}yes{{- end -}}
{{- end }}

{{/* Not empty where pods that lost their bucket are evicted. */}}
{{- define "diskbridge.evicts" -}}
{{- if and .Values.s3.evictLostMounts (has "s3" .Values.backends) (include "diskbridge.mounter" .) -}}yes{{- end -}}
{{- end }}

{{/* The driver name of a kind: dict "root" $ "kind" KIND. */}}
{{- define "diskbridge.driver" -}}
{{- $kind := index (include "diskbridge.kinds" . | fromYaml) .kind -}}
{{- index .root.Values.driverNames .kind | default $kind.driver -}}
{{- end }}

{{- define "diskbridge.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* Short enough for a suffix like -controller-metrics within 63 letters. */}}
{{- define "diskbridge.fullname" -}}
{{- $name := include "diskbridge.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 44 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 44 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 44 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What selects pods, and never changes: dict "root" $ "component" NAME; without a component, all pods. */}}
{{- define "diskbridge.selector" -}}
app.kubernetes.io/name: {{ include "diskbridge.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "diskbridge.labels" -}}
{{ include "diskbridge.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "diskbridge.serviceAccount" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "diskbridge.fullname" .root) .component) -}}
{{- else -}}
{{- required (printf "%s.serviceAccount.name: name the account that exists, or let create be true" .component) $account.name -}}
{{- end -}}
{{- end }}

{{/* A full image reference: dict "root" $ "image" IMAGE. */}}
{{- define "diskbridge.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^[^/]+/" $repository "") -}}
{{- end -}}
{{- if .image.digest -}}
{{ $repository }}@{{ .image.digest }}
{{- else -}}
{{ $repository }}:{{ .image.tag | default (printf "v%s" .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* Where nodes of ours can be. */}}
{{- define "diskbridge.nodeAffinity" -}}
{{- with .Values.node.affinity -}}
{{- toYaml . }}
{{- else -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - { key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate, hybrid, auto] }
{{- end }}
{{- end }}

{{/* Annotations of pods: dict "root" $ "annotations" MAP. A file is read once, so that another one needs other pods. */}}
{{- define "diskbridge.podAnnotations" -}}
{{- with .root.Values.s3.profiles }}
diskbridge.io/s3-profiles: {{ toJson . | sha256sum }}
{{- end }}
{{- with .annotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What no container of ours needs. */}}
{{- define "diskbridge.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Both modes of the driver take these. */}}
{{- define "diskbridge.commonArgs" -}}
- --backends={{ join "," .Values.backends }}
{{- with .Values.driverNames }}
{{- $pairs := list }}
{{- range $kind, $name := . }}{{ $pairs = append $pairs (printf "%s=%s" $kind $name) }}{{ end }}
- --driver-names={{ join "," $pairs }}
{{- end }}
{{- with .Values.clusterID }}
- {{ printf "--cluster-id=%s" . | quote }}
{{- end }}
{{- if .Values.s3.profiles }}
- --s3-profiles=/etc/diskbridge/s3/profiles.yaml
{{- end }}
- --node-name=$(NODE_NAME)
- --v={{ .Values.logLevel }}
{{- end }}

{{/* The emulator's one instance, in its region's first zone. The id is what its default seed makes of the first one. */}}
{{- define "diskbridge.emulatorInstance" -}}i-08ed2cfa715767a59{{- end }}
{{- define "diskbridge.emulatorZone" -}}us-east-1a{{- end }}

{{- define "diskbridge.probes" -}}
# Metadata and Kubernetes may take their time to say where we are.
startupProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 2
  failureThreshold: 75
livenessProbe:
  httpGet: { path: /healthz, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 5
readinessProbe:
  httpGet: { path: /readyz, port: metrics }
  periodSeconds: 5
  timeoutSeconds: 10
{{- end }}

{{/* Environment of the driver's container: dict "root" $ "component" NAME. */}}
{{- define "diskbridge.env" -}}
env:
  - name: NODE_NAME
    valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
  {{- with ternary "" .root.Values.region .root.Values.emulator.enabled }}
  - { name: AWS_REGION, value: {{ . | quote }} }
  {{- end }}
  {{- if .root.Values.emulator.enabled }}
  - { name: AWS_REGION, value: us-east-1 }
  - { name: AWS_EC2_METADATA_DISABLED, value: "true" }
  {{- if ne .component "node" }}
  - { name: AWS_ENDPOINT_URL, value: "http://127.0.0.1:{{ .root.Values.emulator.port }}" }
  - { name: AWS_ACCESS_KEY_ID, value: test }
  - { name: AWS_SECRET_ACCESS_KEY, value: test }
  {{- end }}
  {{- end }}
  {{- with concat .root.Values.extraEnv (index .root.Values .component).extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with (index .root.Values .component).envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* One sidecar, which ends by itself when it loses the driver or its lease: dict "root" $ "kind" KIND "name" NAME "port" N "args" LIST. */}}
{{- define "diskbridge.sidecar" -}}
{{- $root := .root -}}
{{- $sidecar := index $root.Values.sidecars .name -}}
- name: {{ .kind }}-{{ .name }}
  image: {{ include "diskbridge.image" (dict "root" $root "image" $sidecar.image) }}
  imagePullPolicy: {{ $root.Values.imagePullPolicy }}
  args:
    - --csi-address=/csi/{{ include "diskbridge.driver" (dict "root" $root "kind" .kind) }}/csi.sock
    - --leader-election
    - --kube-api-qps=20
    - --kube-api-burst=100
    - --http-endpoint=:{{ .port }}
    - --v={{ $root.Values.logLevel }}
    {{- range concat .args $sidecar.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- with $root.Values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - { name: {{ .kind }}-{{ .name }}, containerPort: {{ .port }} }
  resources:
    {{- toYaml $root.Values.sidecars.resources | nindent 4 }}
  securityContext:
    {{- include "diskbridge.confined" . | nindent 4 }}
  volumeMounts:
    - { name: sockets, mountPath: /csi }
{{- end }}
