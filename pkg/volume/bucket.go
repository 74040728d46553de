package volume

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// CheckBucket says what is wrong with the name of a new bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func CheckBucket(name string) error {
	prefixes := []string{"xn--", "sthree-", "amzn-s3-demo-"}
	suffixes := []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
	_, notIP := netip.ParseAddr(name)
	switch {
	case !bucketName.MatchString(name), strings.Contains(name, ".."), strings.Contains(name, ".-"), strings.Contains(name, "-."):
		return fmt.Errorf("%.80q is not a legal bucket name: 3 to 63 lower-case letters, digits, dashes and single dots, with a letter or digit at both ends", name)
	case notIP == nil:
		return fmt.Errorf("%q is not a legal bucket name: it looks like an IP address", name)
	case slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }),
		slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) }):
		return fmt.Errorf("%q is not a legal bucket name: its beginning or end is reserved by S3", name)
	}
	return nil
}

// IsProfile reports whether a name can be an endpoint profile's: at most 20 lower-case
// letters, digits and dashes.
func IsProfile(name string) bool { return profileName.MatchString(name) }

// IsRegion reports whether a name can be a region's, of AWS or of another S3 server.
func IsRegion(name string) bool { return objectRegion.MatchString(name) }
