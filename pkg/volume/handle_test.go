package volume_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func ExampleParseHandle() {
	for _, s := range []string{"vol-0123456789abcdef0", "efs:fs-01234567:/data", "bucket/some/prefix"} {
		h, err := volume.ParseHandle(s)
		fmt.Println(h.Kind, h, err)
	}
	// Output:
	// ebs vol-0123456789abcdef0 <nil>
	// efs fs-01234567:/data <nil>
	// s3 s3://bucket/some/prefix/ <nil>
}

func TestParseHandle(t *testing.T) {
	for s, want := range map[string]volume.Handle{
		"vol-01234567":                           {Kind: volume.EBS, Root: "vol-01234567"},
		"fs-0123456789abcdef0":                   {Kind: volume.EFS, Root: "fs-0123456789abcdef0"},
		"fs-01234567:/a/b":                       {Kind: volume.EFS, Root: "fs-01234567", Path: "/a/b"},
		"fs-01234567:/a#delete.0123456789abcdef": {Kind: volume.EFS, Root: "fs-01234567", Path: "/a", OnDelete: volume.Delete, Digest: "0123456789abcdef"},
		"fs-01234567:/a#b":                       {Kind: volume.EFS, Root: "fs-01234567", Path: "/a#b"},
		"fs-01234567::fsap-89abcdef":             {Kind: volume.EFS, Root: "fs-01234567", AccessPoint: "fsap-89abcdef"},
		"s3://my-bucket":                         {Kind: volume.S3, Root: "my-bucket"},
		"s3://my-bucket/p/q/":                    {Kind: volume.S3, Root: "my-bucket", Path: "p/q/"},
		"my-bucket/p":                            {Kind: volume.S3, Root: "my-bucket", Path: "p/"},
		"s3://minio@my-bucket/p":                 {Kind: volume.S3, Root: "my-bucket", Path: "p/", Profile: "minio"},
	} {
		got, err := volume.ParseHandle(s)
		if err != nil || got != want {
			t.Errorf("ParseHandle(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestParseHandle_Refused(t *testing.T) {
	for _, s := range []string{
		"", "vol-", "vol-0123456", "vol-0123456789ABCDEF0", "vol-01234567/../x", "vol-01234567\n", "fs-01234567:/a/../b", "fs-01234567:/",
		"fs-01234567:relative", "fs-01234567:#delete.0123456789abcdef", "fs-01234567:/#delete.0123456789abcdef", "fs-01234567:/../a#delete.0123456789abcdef", "fs-01234567::fsap-1", "s3://", "s3://Bucket", "s3://a..b", "s3://bucket/../other", "s3://bucket/a//b",
		"s3://bucket/\x00", "s3://@bucket", "s3://Min@bucket", "s3://a@b@bucket", "nothing", strings.Repeat("a", 129), "s3://bucket/" + strings.Repeat("p", 117),
		"fs-01234567:/" + strings.Repeat("a", 116), "bucket/" + strings.Repeat("p", 118), // the one as it is, the other once it is canonical
		"fs-0123456", "fs-0123456g:/a", "efs:vol-01234567", "fs-01234567:/a/./b", "fs-01234567:/a\x7f", "s3://bucket/a\uFFFD", "s3://bucket/a\xff",
	} {
		if h, err := volume.ParseHandle(s); err == nil {
			t.Errorf("ParseHandle(%q) = %+v, want an error", s, h)
		}
	}
}

func FuzzParseHandle(f *testing.F) {
	for _, s := range []string{"vol-01234567", "fs-01234567:/a", "efs:fs-01234567::fsap-01234567", "s3://bucket/a/", "s3://p@bucket/a", "bucket/a", "fs-01234567:/a#archive.0123456789abcdef", "fs-01234567:", "s3://b/../c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := volume.ParseHandle(s)
		if err != nil {
			return
		}
		canonical := h.String()
		if len(canonical) > volume.MaxHandle {
			t.Errorf("%q has a canonical form of %d bytes", s, len(canonical))
		}
		if again, err := volume.ParseHandle(canonical); err != nil || again != h {
			t.Errorf("%q: round trip over %q gives %+v, %v; want %+v", s, canonical, again, err, h)
		}
		for part := range strings.SplitSeq(h.Path, "/") {
			if part == ".." || part == "." {
				t.Errorf("%q leaves its root: %q", s, h.Path)
			}
		}
	})
}

func TestToken_IsStableAndDistinct(t *testing.T) {
	if a, b := volume.Token("a", "b"), volume.Token("ab"); a == b || len(a) != 64 || a != volume.Token("a", "b") {
		t.Errorf("tokens %q and %q", a, b)
	}
}
