package emulator_test

import (
	"slices"
	"testing"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestS3_DeletedFoldersAreNotListed deletes all below a prefix of a bucket that keeps versions: what is left of it is markers, of
// which no list but that of versions tells.
func TestS3_DeletedFoldersAreNotListed(t *testing.T) {
	_, c := buckets(t)
	name, ctx := sdkaws.String("kept-bucket"), t.Context()
	mustMakeBucket(t, c, *name)
	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	list := func(prefix string, encoding types.EncodingType) (prefixes []string, count int32) {
		t.Helper()
		out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: name, Prefix: &prefix, Delimiter: sdkaws.String("/"), EncodingType: encoding})
		if err != nil {
			t.Fatal(err)
		}
		first, err := c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: name, Prefix: &prefix, Delimiter: sdkaws.String("/"), EncodingType: encoding})
		if err != nil || len(first.CommonPrefixes) != len(out.CommonPrefixes) {
			t.Errorf("the first version of the list has %d common prefixes, the second %d, %v", len(first.CommonPrefixes), len(out.CommonPrefixes), err)
		}
		for _, p := range out.CommonPrefixes {
			prefixes = append(prefixes, *p.Prefix)
		}
		return prefixes, *out.KeyCount
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: sdkaws.String("gone/")}); err != nil { // as a mount makes folders
		t.Fatal(err)
	}
	for _, key := range []string{"gone/a", "gone/deep & odd/b+c", "half/a", "half/b", "half/deep/c", "top"} {
		if err := write(ctx, c, *name, key); err != nil {
			t.Fatal(err)
		}
	}
	if prefixes, count := list("", ""); !slices.Equal(prefixes, []string{"gone/", "half/"}) || count != 3 {
		t.Errorf("before: %q, %d", prefixes, count)
	}
	for _, key := range []string{"gone/a", "gone/deep & odd/b+c", "gone/", "half/a", "half/deep/c"} {
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
		if prefixes, count := list("", encoding); !slices.Equal(prefixes, []string{"half/"}) || count != 2 {
			t.Errorf("after, encoded %q: %q, %d", encoding, prefixes, count)
		}
		if prefixes, count := list("gone/", encoding); len(prefixes) > 0 || count != 0 {
			t.Errorf("below what is gone, encoded %q: %q, %d", encoding, prefixes, count)
		}
		if prefixes, count := list("half/", encoding); len(prefixes) > 0 || count != 1 {
			t.Errorf("below what is there, encoded %q: %q, %d", encoding, prefixes, count)
		}
	}
	versions, err := c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: name})
	if err != nil || len(versions.DeleteMarkers) != 4 || len(versions.Versions) != 6 { // the server keeps no versions of an empty folder's object
		t.Errorf("%d markers and %d versions, %v", len(versions.DeleteMarkers), len(versions.Versions), err)
	}
	if err := write(ctx, c, *name, "gone/again"); err != nil {
		t.Fatal(err)
	}
	if prefixes, _ := list("", ""); !slices.Equal(prefixes, []string{"gone/", "half/"}) {
		t.Errorf("written again: %q", prefixes)
	}
}
