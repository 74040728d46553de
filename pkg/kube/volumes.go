package kube

import (
	"context"
	"fmt"
	"slices"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// pageSize is how many PersistentVolumes are read at once.
const pageSize = 500

// persistentVolume is what of one is needed to find it.
type persistentVolume struct {
	object
	Spec struct {
		CSI *struct {
			Driver       string `json:"driver"`
			VolumeHandle string `json:"volumeHandle"`
		} `json:"csi"`
		EBS *struct { // of the time before CSI
			VolumeID string `json:"volumeID"`
		} `json:"awsElasticBlockStore"`
	} `json:"spec"`
}

// handle is what the PersistentVolume calls its volume, whichever driver serves it; empty for other kinds.
func (pv persistentVolume) handle() string {
	switch {
	case pv.Spec.CSI != nil:
		return pv.Spec.CSI.VolumeHandle
	case pv.Spec.EBS != nil:
		return pv.Spec.EBS.VolumeID
	}
	return ""
}

// VolumeHandles reads what all PersistentVolumes call their volumes, whichever driver serves them.
func (c *Client) VolumeHandles(ctx context.Context) (handles []string, err error) {
	err = c.eachPage(ctx, func(page []persistentVolume) bool {
		for _, pv := range page {
			if h := pv.handle(); h != "" {
				handles = append(handles, h)
			}
		}
		return false
	})
	return handles, err
}

// volumeOf looks for the PersistentVolume of a handle. The API server cannot search by handle, so all are read.
func (c *Client) volumeOf(ctx context.Context, driver, handle string) (found *persistentVolume, err error) {
	err = c.eachPage(ctx, func(page []persistentVolume) bool {
		i := slices.IndexFunc(page, func(pv persistentVolume) bool {
			return pv.Spec.CSI != nil && pv.Spec.CSI.Driver == driver && pv.Spec.CSI.VolumeHandle == handle
		})
		if i >= 0 {
			found = &page[i]
		}
		return i >= 0
	})
	if err == nil && found == nil {
		err = fault.New(fault.NotFound, "find PersistentVolume", handle, "no PersistentVolume has this volume")
	}
	return found, err
}

// eachPage reads all PersistentVolumes page by page until enough says that it has what it looks for.
func (c *Client) eachPage(ctx context.Context, enough func([]persistentVolume) bool) error {
	for next := ""; ; {
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []persistentVolume `json:"items"`
		}
		list := c.core.Get().Resource("persistentvolumes").Param("limit", fmt.Sprint(pageSize)).Param("continue", next)
		if err := read(ctx, list, &page); err != nil {
			return problem("list PersistentVolumes", "", err)
		}
		if next = page.Metadata.Continue; enough(page.Items) || next == "" {
			return nil
		}
	}
}
