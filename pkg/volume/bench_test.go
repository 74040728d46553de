package volume_test

import (
	"testing"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

func BenchmarkParseHandle(b *testing.B) {
	for name, handle := range map[string]string{
		"ebs": "vol-0123456789abcdef0", "efs": "fs-0123456789abcdef0:/data/a", "s3": "s3://my-bucket/some/prefix/",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := volume.ParseHandle(handle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
