package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/diskbridge/diskbridge/tests/e2e/cluster"
)

// TestOrphans_showsALostClone: a clone that AWS made and nobody heard of stays when both claims go; it is shown, and nothing else.
func TestOrphans_showsALostClone(t *testing.T) {
	t.Parallel()
	u := begin(t)
	u.claim("source", "1Gi")
	source := u.bound("source")
	repair := u.faults(fault{Operation: "CopyVolumes", Value: u.ns, Effect: "drop-reply"})
	u.claim("clone", "1Gi", func(s *corev1.PersistentVolumeClaimSpec) {
		s.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
	})
	var lost string
	u.eventually("AWS made the clone", func(ctx context.Context) error {
		disks, _, err := u.inAWS(ctx)
		for _, d := range disks {
			if d.ID != source {
				lost = d.ID
			}
		}
		if err == nil && lost == "" {
			err = fmt.Errorf("there are %+v", disks)
		}
		return err
	})
	u.deleteClaim("source")
	u.told("clone", "is currently being deleted")
	u.deleteClaim("clone")
	repair()
	u.eventually("both claims are gone", func(ctx context.Context) error {
		claims, err := here.Client.CoreV1().PersistentVolumeClaims(u.ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(claims.Items) > 0 {
			err = errors.New(claims.Items[0].Name + " is still there")
		}
		return err
	})
	u.eventually("the source's volume is gone", func(ctx context.Context) error {
		disks, _, err := u.inAWS(ctx)
		if err == nil && (len(disks) != 1 || disks[0].ID != lost) {
			err = fmt.Errorf("there are %+v", disks)
		}
		return err
	})
	if shown := u.orphans("--older-than=0s"); !strings.Contains(shown, lost) || strings.Contains(shown, source) {
		u.Errorf("orphans shows %q, want %s", shown, lost)
	}
	if shown := u.orphans("--older-than=1h"); strings.Contains(shown, lost) {
		u.Errorf("orphans of the last hour: %q", shown)
	}
	u.adopt(lost)
	if shown := u.orphans("--older-than=0s"); strings.Contains(shown, lost) {
		u.Errorf("it has a PersistentVolume, and orphans shows %q", shown)
	}
}

// orphans is what `diskbridge orphans` says.
func (u *user) orphans(args ...string) string {
	u.Helper()
	cmd := exec.CommandContext(u.Context(), here.Paths.Bin+"/diskbridge",
		append([]string{"orphans", "--kubeconfig=" + here.Kubeconfig, "--cluster-id=" + clusterID}, args...)...)
	cmd.Env = append(os.Environ(), awsEnvironment()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.Fatalf("diskbridge orphans: %v: %s", err, out)
	}
	return string(out)
}

// adopt gives a volume a PersistentVolume and a claim, with which it is deleted.
func (u *user) adopt(id string) {
	u.Helper()
	size := corev1.ResourceList{}
	u.claim("adopted", "1Gi", func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName, size = u.ns, s.Resources.Requests })
	_, err := here.Client.CoreV1().PersistentVolumes().Create(u.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: u.ns, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": driver}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: "now",
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: id}},
		},
	}, metav1.CreateOptions{})
	u.must(err)
	u.bound("adopted")
}

// awsEnvironment lets a program reach the emulated AWS.
func awsEnvironment() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + here.AWS(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=" + cluster.Region,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}
