package s3_test

import (
	"slices"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/fault"
)

// TestBackend_Adopt uses what exists and never deletes it.
func TestBackend_Adopt(t *testing.T) {
	c := newCloud(t)
	shared := c.bucket("shared-bucket")
	c.put(shared, "prod/a")
	if _, err := c.sdk.PutBucketTagging(t.Context(), &sdk.PutBucketTaggingInput{Bucket: &shared, Tagging: &types.Tagging{
		TagSet: []types.Tag{{Key: sdkaws.String("team"), Value: sdkaws.String("a")}},
	}}); err != nil {
		t.Fatal(err)
	}
	for existing, deletions := range map[string]int{"s3://shared-bucket": 2, "s3://shared-bucket/prod/": 1} {
		parameters := map[string]string{"existingResourceId": existing}
		for range 2 {
			if v := mustCreate(t, c.backend(), "pvc-1", parameters); v.Handle != existing {
				t.Errorf("handle %s, want %s", v.Handle, existing)
			}
		}
		_, err := c.backend().Create(t.Context(), request("pvc-2", parameters))
		wantFault(t, err, fault.Conflict, "already used")
		for range deletions { // the answer to the first may be lost
			kept, err := c.backend().Delete(t.Context(), existing)
			if err != nil || !strings.Contains(kept, "adopted") {
				t.Errorf("kept %q, %v", kept, err)
			}
		}
		mustCreate(t, c.backend(), "pvc-2", parameters) // the adoption is forgotten
		if kept, err := c.backend().Delete(t.Context(), existing); err != nil || kept == "" {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	if got := c.keys(shared); !slices.Equal(got, []string{"prod/", "prod/a"}) { // s3fs takes prod/ for the directory
		t.Errorf("left %v", got)
	}
	tags, err := c.sdk.GetBucketTagging(t.Context(), &sdk.GetBucketTaggingInput{Bucket: &shared})
	if err != nil || len(tags.TagSet) != 2 || !slices.ContainsFunc(tags.TagSet, func(t types.Tag) bool { return *t.Key == "team" }) {
		t.Errorf("tags %+v, %v", tags, err)
	}
	_, err = c.backend().Create(t.Context(), request("pvc-3", map[string]string{"existingResourceId": "s3://shared-bucket/nothing/"}))
	wantFault(t, err, fault.NotFound, "nothing lies under")
	_, err = c.backend().Create(t.Context(), request("pvc-3", map[string]string{"existingResourceId": "s3://missing-bucket"}))
	wantFault(t, err, fault.NotFound, "missing-bucket")
}
