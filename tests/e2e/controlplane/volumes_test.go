package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func isAttached(s storagev1.VolumeAttachmentStatus) bool { return s.Attached }

func attached(d disk) bool { return len(d.Attachments) == 1 && d.Attachments[0].State == "attached" }
func free(d disk) bool     { return len(d.Attachments) == 0 }

// node is the instance in the disk's zone.
func (u *user) node(id string) string {
	u.Helper()
	s, err := readAWS(u.Context())
	u.must(err)
	for _, d := range s.Volumes {
		for _, i := range here.Instances {
			if d.ID == id && d.Zone == i.Zone {
				return i.ID
			}
		}
	}
	u.Fatalf("no instance is in the zone of %s", id)
	return ""
}

// findVolume is the name of the PersistentVolume of an id.
func (u *user) findVolume(ctx context.Context, id string) (string, error) {
	all, err := here.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	n := slices.IndexFunc(all.Items, func(pv corev1.PersistentVolume) bool { return pv.Spec.CSI.VolumeHandle == id })
	if n < 0 {
		return "", errors.New("no PersistentVolume is of " + id)
	}
	return all.Items[n].Name, nil
}

func (u *user) volume(id string) string {
	u.Helper()
	name, err := u.findVolume(u.Context(), id)
	u.must(err)
	return name
}

// attachments are the VolumeAttachments of a disk.
func (u *user) attachments(ctx context.Context, id string) (found []storagev1.VolumeAttachment, err error) {
	pv, err := u.findVolume(ctx, id)
	if err != nil {
		return nil, err
	}
	all, err := here.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, a := range all.Items {
		if a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == pv {
			found = append(found, a)
		}
	}
	return found, nil
}

// attachment waits until the disk has one that is so.
func (u *user) attachment(id, what string, is func(storagev1.VolumeAttachmentStatus) bool) {
	u.Helper()
	u.eventually("attachment of "+id+" has "+what, func(ctx context.Context) error {
		all, err := u.attachments(ctx, id)
		if err == nil && (len(all) != 1 || !is(all[0].Status)) {
			err = fmt.Errorf("they are %+v", all)
		}
		return err
	})
}

func (u *user) noAttachment(id string) {
	u.Helper()
	u.eventually("no attachment of "+id, func(ctx context.Context) error {
		all, err := u.attachments(ctx, id)
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("there is %s", all[0].Name)
		}
		return err
	})
}

// capacity waits until the volume of a claim is as large.
func (u *user) capacity(claim, size string) {
	u.Helper()
	pv := u.volume(u.bound(claim))
	u.eventually("claim "+claim+" is grown to "+size, func(ctx context.Context) error {
		v, err := here.Client.CoreV1().PersistentVolumes().Get(ctx, pv, metav1.GetOptions{})
		if err == nil && v.Spec.Capacity.Storage().String() != size {
			err = fmt.Errorf("its volume has %s", v.Spec.Capacity.Storage())
		}
		return err
	})
}

// class waits until a claim has the class, and no other is to be applied.
func (u *user) class(claim, name string) {
	u.Helper()
	u.eventually("claim "+claim+" has class "+name, func(ctx context.Context) error {
		c, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).Get(ctx, claim, metav1.GetOptions{})
		if err == nil && (c.Status.CurrentVolumeAttributesClassName == nil || *c.Status.CurrentVolumeAttributesClassName != name) {
			err = fmt.Errorf("its status is %+v", c.Status)
		}
		return err
	})
}
