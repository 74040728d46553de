package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseS3Profiles(t *testing.T) {
	profiles, err := ParseS3Profiles([]byte(`
profiles:
  minio:
    endpoint: https://minio.storage.svc:9000
    region: us-east-1
    pathStyle: false
    lacks: [lifecycle]
  default:
    endpoint: http://127.0.0.1:7070
    region: garage
`))
	if err != nil || len(profiles) != 2 || profiles["minio"].Lacks[0] != "lifecycle" || *profiles["minio"].PathStyle || profiles["default"].Region != "garage" {
		t.Errorf("%+v, %v", profiles, err)
	}
}

func TestParseS3Profiles_Refused(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":            {"{}", "no profile"},
		"an unknown field":   {"profiles: {a: {endpoint: 'https://a', region: r, secretKey: x}}", "secretKey"},
		"a name":             {"profiles: {Min_IO: {endpoint: 'https://a', region: r}}", "lower-case"},
		"no endpoint":        {"profiles: {a: {region: r}}", "endpoint is missing"},
		"a path":             {"profiles: {a: {endpoint: 'https://a/b', region: r}}", "https://host:port"},
		"credentials":        {"profiles: {a: {endpoint: 'https://u:p@a', region: r}}", "https://host:port"},
		"another protocol":   {"profiles: {a: {endpoint: 'ftp://a', region: r}}", "https://host:port"},
		"a missing region":   {"profiles: {a: {endpoint: 'https://a'}}", "region is missing"},
		"a region of blanks": {"profiles: {a: {endpoint: 'https://a', region: 'a b'}}", "is not a region"},
		"a CA without TLS":   {"profiles: {a: {endpoint: 'http://a', region: r, ca: x}}", "ca has no meaning"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseS3Profiles([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestSettings_S3ProfilesFile(t *testing.T) {
	s := Settings{S3ProfilesFile: filepath.Join(t.TempDir(), "missing")}
	if err := s.loadProfiles(); err == nil || !strings.HasPrefix(err.Error(), "--s3-profiles: ") {
		t.Errorf("a missing file: %v", err)
	}
	s.S3ProfilesFile = filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(s.S3ProfilesFile, []byte("profiles: {a: {endpoint: 'https://a', region: r}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.loadProfiles(); err != nil || s.S3Profiles["a"].Endpoint != "https://a" {
		t.Errorf("%v, %v", s.S3Profiles, err)
	}
}
