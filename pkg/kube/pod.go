package kube

import (
	"slices"
	"time"
)

// pod is what of one tells whether it sees a volume that was mounted again.
type pod struct {
	Metadata struct {
		metadata
		DeletionTimestamp *time.Time `json:"deletionTimestamp"`
		OwnerReferences   []struct {
			Kind       string `json:"kind"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		Volumes []struct {
			Name  string `json:"name"`
			Claim *struct {
				Name string `json:"claimName"`
			} `json:"persistentVolumeClaim"`
			Ephemeral *struct{} `json:"ephemeral"`
		} `json:"volumes"`
		Init       []container `json:"initContainers"`
		Containers []container `json:"containers"`
	} `json:"spec"`
	Status struct {
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type container struct {
	Name   string `json:"name"`
	Mounts []struct {
		Name        string `json:"name"`
		Propagation string `json:"mountPropagation"`
		SubPath     string `json:"subPath"`
		SubPathExpr string `json:"subPathExpr"`
	} `json:"volumeMounts"`
}

type containerStatus struct {
	Name  string `json:"name"`
	State struct {
		Running *struct {
			StartedAt time.Time `json:"startedAt"` // whole seconds
		} `json:"running"`
	} `json:"state"`
}

// comesBack reports whether a controller makes another pod in its place. kubelet, which makes those of files on its node, does not.
func (p *pod) comesBack() bool {
	for _, o := range p.Metadata.OwnerReferences {
		if o.Controller {
			return o.Kind != "Node"
		}
	}
	return false
}

// blind reports whether a container, which runs since before a claim's volume was mounted again, cannot see it: those do that
// take mounts from the host, but not below a subPath, which kubelet mounts once.
func (p *pod) blind(claim string, again time.Time) bool {
	if p.Metadata.DeletionTimestamp != nil {
		return false // it ends already
	}
	older := map[string]bool{}
	for _, s := range slices.Concat(p.Status.Init, p.Status.Containers) {
		older[s.Name] = s.State.Running != nil && !s.State.Running.StartedAt.After(again)
	}
	volumes := map[string]bool{}
	for _, v := range p.Spec.Volumes {
		// https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
		volumes[v.Name] = v.Claim != nil && v.Claim.Name == claim || v.Ephemeral != nil && p.Metadata.Name+"-"+v.Name == claim
	}
	for _, c := range slices.Concat(p.Spec.Init, p.Spec.Containers) {
		for _, m := range c.Mounts {
			follows := (m.Propagation == "HostToContainer" || m.Propagation == "Bidirectional") && m.SubPath == "" && m.SubPathExpr == ""
			if older[c.Name] && volumes[m.Name] && !follows {
				return true
			}
		}
	}
	return false
}
