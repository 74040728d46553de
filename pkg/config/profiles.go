package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// DefaultProfile is the endpoint profile that takes AWS's place where none is named.
const DefaultProfile = "default"

// S3Profile is an S3 server other than AWS's. It holds no secret.
type S3Profile struct {
	Endpoint  string   `json:"endpoint"`            // such as https://minio.storage.svc:9000
	Region    string   `json:"region"`              // that requests are signed for
	PathStyle *bool    `json:"pathStyle,omitempty"` // the bucket is in the path; true where nothing is said
	CA        string   `json:"ca,omitempty"`        // certificates in PEM form; the machine's where nothing is said
	AccountID string   `json:"accountId,omitempty"` // whom buckets belong to, where the server knows accounts
	Lacks     []string `json:"lacks,omitempty"`     // parts of S3 that the server has not and that are done without
}

// maxProfiles is the largest file of profiles, in bytes.
const maxProfiles = 1 << 20

// loadProfiles reads the file of --s3-profiles.
func (s *Settings) loadProfiles() (err error) {
	if s.S3ProfilesFile != "" {
		s.S3Profiles, err = LoadS3Profiles(s.S3ProfilesFile)
	}
	return err
}

// LoadS3Profiles reads the file that --s3-profiles names; its errors begin with the flag.
func LoadS3Profiles(file string) (profiles map[string]S3Profile, err error) {
	info, err := os.Stat(file)
	if err != nil || info.Size() > maxProfiles {
		return nil, fmt.Errorf("--s3-profiles: %q cannot be read, or is larger than 1 MiB: %w", file, err)
	}
	text, err := os.ReadFile(file)
	if err == nil {
		profiles, err = ParseS3Profiles(text)
	}
	if err != nil {
		return nil, fmt.Errorf("--s3-profiles: %s: %w", file, err)
	}
	return profiles, nil
}

// ParseS3Profiles reads endpoint profiles by name from YAML: "profiles:" and below it a
// profile under each name. The error names the profile and the field.
func ParseS3Profiles(text []byte) (map[string]S3Profile, error) {
	var file struct {
		Profiles map[string]S3Profile `json:"profiles"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, err
	}
	if len(file.Profiles) == 0 {
		return nil, fmt.Errorf(`no profile is there; expected "profiles:" and a name for each below it`)
	}
	for _, name := range slices.Sorted(maps.Keys(file.Profiles)) {
		if err := file.Profiles[name].check(name); err != nil {
			return nil, fmt.Errorf("profile %q: %w", name, err)
		}
	}
	return file.Profiles, nil
}

func (p S3Profile) check(name string) error {
	u, err := url.Parse(p.Endpoint)
	switch {
	case !volume.IsProfile(name):
		return fmt.Errorf("a name has at most 20 lower-case letters, digits and dashes")
	case p.Endpoint == "":
		return fmt.Errorf("endpoint is missing")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint %q is not of the form https://host:port", p.Endpoint)
	case p.Region == "":
		return fmt.Errorf("region is missing: requests are signed for one; if the server has none, write us-east-1")
	case !volume.IsRegion(p.Region):
		return fmt.Errorf("region %q is not a region such as us-east-1", p.Region)
	case p.CA != "" && u.Scheme != "https":
		return fmt.Errorf("ca has no meaning with an endpoint of http")
	}
	return nil
}
