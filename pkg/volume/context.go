package volume

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Volume context keys of EFS volumes that only the controller reads, when it publishes.
const (
	ContextSubnets        = "subnetIds"        // for new mount targets, separated by commas
	ContextSecurityGroups = "securityGroupIds" // of new mount targets, separated by commas
)

// contextKeys are the keys that a volume of a kind can have, as the controller writes them.
func contextKeys(kind Kind) []string {
	switch kind {
	case EBS:
		keys := []string{ContextMayFormat, ContextSource, ContextAwaitInitialized, ContextLayout}
		for _, o := range formatOptions {
			keys = append(keys, strings.ToLower(o.Key))
		}
		return keys
	case EFS:
		return []string{ContextTLS, ContextAddress, ContextSubnets, ContextSecurityGroups, ContextUID, ContextGID, ContextPerms, ContextCluster, ContextName}
	default:
		return []string{ContextRegion, ContextFileUID, ContextFileGID, ContextUmask, ContextPermissions, ContextCacheMiB, ContextCredentials}
	}
}

// peerKey is a key of AWS's own driver for what this one does not do. A value that asks for nothing is accepted, so that
// its volumes work unchanged.
type peerKey struct {
	key, nothing string
	instead      string // what to do about any other value
}

// peerKeys of the EBS CSI driver (also written by Kubernetes where it translates volumes of the plugin that it replaced) and
// of the EFS CSI driver. https://github.com/kubernetes-sigs/aws-efs-csi-driver/blob/master/docs/README.md
func peerKeys(kind Kind) []peerKey {
	switch kind {
	case EBS:
		return []peerKey{{"partition", "0", "a partition of a disk is not mounted; remove the key for a file system on the whole disk, or copy the data"}}
	case EFS:
		return []peerKey{
			{"path", "/", "write the directory into the handle, as fs-…:/dir"},
			{"crossaccount", "false", "a mount target of another account is reached by its address: write it as " + ContextAddress},
		}
	default:
		return nil
	}
}

// ReadContext checks the keys of a volume context, as a controller wrote it or a user by hand, and returns it with the keys
// as the controller writes them. Keys are compared without case where AWS's own driver does so: for EBS and EFS. What
// Kubernetes adds is left alone; any other key is refused, since a typing error must not go unseen.
func ReadContext(kind Kind, context map[string]string) (map[string]string, error) {
	fold := strings.ToLower
	if kind == S3 {
		fold = strings.Clone
	}
	known, out := map[string]string{}, map[string]string{}
	for _, key := range contextKeys(kind) {
		known[fold(key)] = key
	}
	for _, key := range slices.Sorted(maps.Keys(context)) {
		name, ok := known[fold(key)]
		if addedByKubernetes(key) {
			name, ok = key, true
		}
		if !ok {
			if err := foreignKey(kind, key, fold(key), context[key]); err != nil {
				return nil, err
			}
			continue
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("volume context %q is given twice, in upper and lower case; give it once", name)
		}
		out[name] = context[key]
	}
	return out, nil
}

// foreignKey accepts a key of AWS's own driver with a value that asks for nothing, and refuses any other.
func foreignKey(kind Kind, key, folded, value string) error {
	for _, p := range peerKeys(kind) {
		switch {
		case p.key != folded:
		case value == "" || value == p.nothing:
			return nil
		default:
			return fmt.Errorf("volume context %.60q: %s", key, p.instead)
		}
	}
	known := contextKeys(kind)
	if near := Nearest(folded, known); near != "" {
		return fmt.Errorf("volume context %.60q is unknown; did you mean %q?", key, near)
	}
	return fmt.Errorf("volume context %.60q is unknown; known are %s", key, strings.Join(known, ", "))
}

// addedByKubernetes reports whether a key is one that the provisioner or kubelet adds: who made the volume, and which pod
// uses it (podInfoOnMount, tokenRequests). https://kubernetes-csi.github.io/docs/pod-info.html
func addedByKubernetes(key string) bool {
	return key == ContextProvisioner || strings.HasPrefix(key, "csi.storage.k8s.io/")
}
