package backend_test

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
)

// TestOwner_Judge says whose deletions go through (docs/explanation/architecture.md, Delete).
func TestOwner_Judge(t *testing.T) {
	const driver = "ebs.csi.aws.com"
	type tags = map[string]string
	const (
		deletes = "delete"
		keeps   = "keep: "
		refuses = "refuse: "
	)
	for name, tc := range map[string]struct {
		tags     tags
		standsIn bool
		want     string
	}{
		"ours":                                        {tags{backend.TagCluster: "c"}, false, deletes},
		"ours, held by a volume of ours":              {tags{backend.TagCluster: "c", backend.TagHolder: "kubernetes:c/pv-1"}, false, deletes},
		"ours, held by BOSH":                          {tags{backend.TagCluster: "c", backend.TagHolder: "bosh:d"}, false, keeps + "it is held by bosh:d"},
		"ours, held by another cluster":               {tags{backend.TagCluster: "c", backend.TagHolder: "kubernetes:other/pv-1"}, false, refuses + "it is held by kubernetes:other/pv-1"},
		"held by a cluster whose name begins as ours": {tags{backend.TagCluster: "c", backend.TagHolder: "kubernetes:cc/pv-1"}, false, refuses + "it is held by"},
		"held by nobody knows whom":                   {tags{backend.TagCluster: "c", backend.TagHolder: "nonsense"}, false, refuses + "it is held by nonsense"},
		"adopted as external":                         {tags{backend.TagCluster: "c", backend.TagAdopted: "external"}, false, keeps + "it was adopted as external"},
		"adopted as external, and forgotten":          {tags{backend.TagAdopted: "external"}, false, keeps + "it was adopted as external"},
		"another cluster's":                           {tags{backend.TagCluster: "other"}, false, refuses + `it belongs to cluster "other"`},
		"nobody's":                                    {nil, false, refuses + "it carries no tag"},
		"the name alone":                              {tags{backend.TagVolumeName: "pvc-1"}, false, refuses + "it carries no tag"},
		"of the driver that we stand in for":          {tags{backend.TagVolumeName: "pvc-1", driver + "/cluster": "true"}, true, deletes},
		"of that driver, and we do not stand in":      {tags{backend.TagVolumeName: "pvc-1", driver + "/cluster": "true"}, false, refuses + "it carries no tag"},
		"of that driver, without a name":              {tags{driver + "/cluster": "true"}, true, refuses + "it carries no tag"},
		"of that driver in another cluster":           {tags{backend.TagVolumeName: "pvc-1", driver + "/cluster": "true", backend.TagCluster: "other"}, true, refuses + `it belongs to cluster "other"`},
	} {
		t.Run(name, func(t *testing.T) {
			v := backend.Owner{Driver: driver, Cluster: "c"}.Judge(backend.TagVolumeName, tc.tags, tc.standsIn)
			got := ""
			if v.Delete {
				got += deletes
			}
			if v.Keep != "" {
				got += keeps + v.Keep
			}
			if v.Refuse != "" {
				got += refuses + v.Refuse
			}
			if !strings.HasPrefix(got, tc.want) || tc.want == deletes && got != deletes {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
