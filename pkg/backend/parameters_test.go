package backend_test

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
)

var declared = backend.Parameters{
	{Key: "type", Aliases: []string{"volumeType"}, Type: backend.String, Default: "a", OneOf: []string{"a", "b"}},
	{Key: "iops", Type: backend.Int},
	{Key: "encrypted", Type: backend.Bool},
	{Key: "tag_", Type: backend.Prefix},
}

func TestParameters_Decode(t *testing.T) {
	v, err := declared.Decode(map[string]string{
		"VolumeType": "B", "iops": "7", "encrypted": "true", "tag_1": "k=v", "csi.storage.k8s.io/pvc/name": "claim",
	})
	if err != nil || v["type"] != "b" || v.Int("iops") != 7 || !v.Bool("encrypted") || v["tag_1"] != "k=v" || v["csi.storage.k8s.io/pvc/name"] != "claim" {
		t.Errorf("Decode = %v, %v", v, err)
	}
	if v, err := declared.Decode(nil); err != nil || v["type"] != "a" || v.Int("iops") != 0 || v.Bool("encrypted") {
		t.Errorf("defaults: %v, %v", v, err)
	}
}

func TestParameters_TheErrorNamesTheKeyAndTheFix(t *testing.T) {
	for _, tc := range []struct {
		raw  map[string]string
		want string
	}{
		{map[string]string{"encrypte": "true"}, `unknown parameter "encrypte"; did you mean "encrypted"?`},
		{map[string]string{"zzzzzzzzzz": "1"}, `known are encrypted, iops, tag_, type, volumeType`},
		{map[string]string{"iops": "-1"}, `parameter "iops": "-1" is not a whole number`},
		{map[string]string{"iops": "99999999999"}, `"99999999999" is not a whole number`},
		{map[string]string{"type": "c"}, `parameter "type": "c" is not one of a, b`},
		{map[string]string{"type": "a", "volumeType": "b"}, `mean the same; give one`},
		{map[string]string{"tag_": "k=v"}, `unknown parameter "tag_"`},
		{map[string]string{"TAG_1": "k=v"}, `unknown parameter "TAG_1"`},
	} {
		if _, err := declared.Decode(tc.raw); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %s", tc.raw, err, tc.want)
		}
	}
}

// FuzzParameters: whatever the keys and values are, Decode neither panics nor takes
// a key that is not declared.
func FuzzParameters(f *testing.F) {
	f.Add("type", "a")
	f.Add("iops", "2147483648")
	f.Add("tag_", "")
	f.Add("csi.storage.k8s.io/x", "\xff")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, key, value string) {
		v, err := declared.Decode(map[string]string{key: value})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the message has several lines: %q", err)
			}
			return
		}
		for got := range v {
			ok := strings.HasPrefix(got, "csi.storage.k8s.io/") || strings.HasPrefix(got, "tag_") && len(got) > len("tag_")
			for _, p := range declared {
				ok = ok || p.Type != backend.Prefix && p.Key == got
			}
			if !ok {
				t.Errorf("key %q was taken as %q", key, got)
			}
		}
		if n := v.Int("iops"); n < 0 || n > 1<<31-1 {
			t.Errorf("iops %d", n)
		}
	})
}
