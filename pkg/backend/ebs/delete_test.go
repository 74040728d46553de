package ebs_test

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/backend/ebs"
	"github.com/diskbridge/diskbridge/pkg/fault"
)

func TestDelete_DeletesOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	const peer = "ebs.csi.aws.com"
	for _, tc := range []struct {
		name    string
		driver  string
		tags    map[string]string
		deleted bool
		kept    string // part of the reason
		refused string // part of the message
	}{
		{name: "made by this cluster", tags: map[string]string{ebs.TagCluster: cluster}, deleted: true},
		{name: "adopted with transfer, held by this cluster", tags: map[string]string{ebs.TagCluster: cluster, ebs.TagHolder: "kubernetes:" + cluster + "/pv-1"}, deleted: true},
		{name: "made by the driver we stand in for", driver: peer, tags: map[string]string{ebs.TagVolumeName: "pvc-1", peer + "/cluster": "true"}, deleted: true},
		{name: "of the driver we stand in for, in another cluster", driver: peer, tags: map[string]string{ebs.TagVolumeName: "pvc-1", peer + "/cluster": "true", ebs.TagCluster: "other"}, refused: `belongs to cluster "other"`},
		{name: "of that driver, but we do not stand in", tags: map[string]string{ebs.TagVolumeName: "pvc-1", peer + "/cluster": "true"}, refused: "no tag that says that we made it"},
		{name: "adopted as external", tags: map[string]string{ebs.TagCluster: cluster, ebs.TagAdopted: "external"}, kept: "external"},
		{name: "held by BOSH", tags: map[string]string{ebs.TagCluster: cluster, ebs.TagHolder: "bosh:7d4f"}, kept: "bosh:7d4f"},
		{name: "held by another cluster", tags: map[string]string{ebs.TagCluster: cluster, ebs.TagHolder: "kubernetes:other/pv-1"}, refused: "held by kubernetes:other/pv-1"},
		{name: "another cluster's", tags: map[string]string{ebs.TagCluster: "other"}, refused: `belongs to cluster "other"`},
		{name: "untagged", refused: "no tag that says that we made it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := instant(t)
			b := c.backendWith(ebs.Options{Owner: backend.Owner{Driver: tc.driver}})
			id := c.foreign(tc.tags)
			kept, err := b.Delete(t.Context(), id)
			exists := len(c.State().Volumes) == 1
			switch {
			case tc.deleted && (err != nil || kept != "" || exists):
				t.Errorf("not deleted: kept %q, %v", kept, err)
			case tc.kept != "" && (err != nil || !strings.Contains(kept, tc.kept) || !exists):
				t.Errorf("kept %q, %v, exists %v", kept, err, exists)
			case tc.refused != "" && (!fault.Is(err, fault.InUse) || !strings.Contains(err.Error(), tc.refused) || !exists):
				t.Errorf("refused with %v, exists %v", err, exists)
			case tc.refused != "" && !strings.Contains(err.Error(), "aws ec2 create-tags --resources "+id):
				t.Errorf("the message lacks the command that claims it: %v", err)
			}
		})
	}
}

func TestDelete_ANameCanComeAgainAtOnce(t *testing.T) {
	t.Parallel()
	c := lagging(t, 2)
	b := c.backend()
	seen := map[string]bool{}
	for range 3 {
		v := mustCreate(t, b, "v")
		if seen[v.Handle] {
			t.Errorf("%s was deleted and is answered again", v.Handle)
		}
		seen[v.Handle] = true
		if err := again(func() error { _, err := b.Delete(t.Context(), v.Handle); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if left := c.ours(); len(left) > 0 {
		t.Errorf("in the cloud: %v", left)
	}
}

func TestDelete_AMalformedHandleIsNothing(t *testing.T) {
	t.Parallel()
	c := instant(t)
	for _, handle := range []string{"vol-xyz", "nonsense", strings.Repeat("x", 300)} {
		if _, err := c.backend().Delete(t.Context(), handle); err != nil {
			t.Errorf("Delete(%.20q) = %v", handle, err)
		}
	}
	if _, err := c.backend().Delete(t.Context(), "fs-0123456789abcdef0"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an EFS handle = %v", err)
	}
	if n := c.count("DeleteVolume"); n != 0 {
		t.Errorf("DeleteVolume was called %d times", n)
	}
}

func TestStandingIn_TheOtherDriverFindsItsTags(t *testing.T) {
	t.Parallel()
	const peer = "ebs.csi.aws.com"
	c := instant(t)
	b := c.backendWith(ebs.Options{Owner: backend.Owner{Driver: peer}})
	v := mustCreate(t, b, "pvc-1")
	tags := c.volume(v.Handle).Tags
	if tags[peer+"/cluster"] != "true" || tags[ebs.TagVolumeName] != "pvc-1" {
		t.Errorf("tags %v", tags)
	}
	// A volume of that driver is found by its name, so that nothing is made twice.
	old := c.foreign(map[string]string{ebs.TagVolumeName: "pvc-2", peer + "/cluster": "true"})
	if again, err := b.Create(t.Context(), request("pvc-2", 1)); err != nil || again.Handle != old {
		t.Errorf("Create = %v, %v; want %s", again.Handle, err, old)
	}
}
