package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pathPlaceholders are what a path may be made of, in the words of the EFS CSI driver and of the NFS CSI driver, and the
// parameters of Kubernetes' provisioner that fill them (--extra-create-metadata).
// https://github.com/kubernetes-sigs/aws-efs-csi-driver/blob/master/docs/README.md
// https://github.com/kubernetes-csi/csi-driver-nfs/blob/master/docs/driver-parameters.md
var pathPlaceholders = map[string]string{
	"${.PVC.name}": "csi.storage.k8s.io/pvc/name", "${.PVC.namespace}": "csi.storage.k8s.io/pvc/namespace", "${.PV.name}": "csi.storage.k8s.io/pv/name",
	"${pvc.metadata.name}": "csi.storage.k8s.io/pvc/name", "${pvc.metadata.namespace}": "csi.storage.k8s.io/pvc/namespace", "${pv.metadata.name}": "csi.storage.k8s.io/pv/name",
}

// ExpandPath is a parameter that is a path, with its placeholders filled in: ${.PVC.namespace} and the like. The error
// names a placeholder that is unknown, that nobody filled, or whose value is more than one part of a path.
func (v Values) ExpandPath(key string) (string, error) {
	var out strings.Builder
	if strings.Contains(v[key], "{{") {
		return "", fmt.Errorf("parameter %s: %q has {{, which only tags may have; here are %s", key, v[key], knownPlaceholders())
	}
	for text := v[key]; ; {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		from, known := pathPlaceholders["${"+name+"}"]
		if !closed || !known {
			return "", fmt.Errorf("parameter %s: %q has a placeholder that is none of %s", key, v[key], knownPlaceholders())
		}
		value := v[from]
		switch {
		case value == "":
			return "", fmt.Errorf("parameter %s: ${%s} is not known here; start the provisioner with --extra-create-metadata", key, name)
		case strings.Contains(value, "/"):
			return "", fmt.Errorf("parameter %s: ${%s} is %.80q, which is more than one part of a path", key, name, value)
		}
		out.WriteString(value)
		text = after
	}
}

func knownPlaceholders() string {
	return strings.Join(slices.Sorted(maps.Keys(pathPlaceholders)), ", ")
}
