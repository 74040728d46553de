package s3_test

import (
	"slices"
	"strings"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
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
	for _, existing := range []string{"s3://shared-bucket", "s3://shared-bucket/prod/"} {
		parameters := map[string]string{"existingResourceId": existing}
		for range 2 {
			if v := mustCreate(t, c.backend(), "pvc-1", parameters); v.Handle != existing {
				t.Errorf("handle %s, want %s", v.Handle, existing)
			}
		}
		_, err := c.backend().Create(t.Context(), request("pvc-2", parameters))
		wantFault(t, err, fault.Conflict, "already used")
		for range 2 { // the answer to the first may be lost
			kept, err := c.backend().Delete(t.Context(), existing)
			if err != nil || !strings.Contains(kept, "adopted") {
				t.Errorf("kept %q, %v", kept, err)
			}
		}
		if existing != "s3://shared-bucket" { // a bucket's tags say to all who ask that it was adopted
			_, err = c.backendOf("other").Delete(t.Context(), existing)
			wantFault(t, err, fault.InUse, "no marker")
		}
		mustCreate(t, c.backend(), "pvc-2", parameters) // the adoption is forgotten
		if kept, err := c.backend().Delete(t.Context(), existing); err != nil || kept == "" {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	want := []string{volume.ObjectForgotten("prod/"), "prod/", "prod/a"} // s3fs takes prod/ for the directory
	if got := c.keys(shared); !slices.Equal(got, want) {
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
