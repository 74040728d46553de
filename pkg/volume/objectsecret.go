package volume

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ObjectCredentials are what requests to S3 are signed with. They print as nothing.
type ObjectCredentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
}

// String implements fmt.Stringer, so that no log shows them.
func (ObjectCredentials) String() string { return "(credentials)" }

// GoString implements fmt.GoStringer, for %#v.
func (ObjectCredentials) GoString() string { return "(credentials)" }

// secretNames are the keys of a secret and other drivers' names for them: k8s-csi-s3's
// and Mountpoint's.
var secretNames = map[string][]string{
	"accessKeyID":     {"accessKeyID", "key_id", "AWS_ACCESS_KEY_ID"},
	"secretAccessKey": {"secretAccessKey", "access_key", "AWS_SECRET_ACCESS_KEY"},
	"sessionToken":    {"sessionToken", "AWS_SESSION_TOKEN"},
}

// ParseObjectCredentials reads the secrets of a request; nil where there are none.
// Errors name keys, never values.
func ParseObjectCredentials(secrets map[string]string) (*ObjectCredentials, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	values := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(secrets)) {
		name := secretName(key)
		switch {
		case name == "" && (key == "endpoint" || key == "region"):
			return nil, fmt.Errorf("secret: %q has no place there; name an endpoint profile in the StorageClass, or before the bucket in the volume's handle", key)
		case name == "":
			return nil, fmt.Errorf("secret: unknown key %.40q; known are accessKeyID, secretAccessKey and sessionToken", key)
		case values[name] != "":
			return nil, fmt.Errorf("secret: %s is given under two names", name)
		}
		values[name] = strings.TrimSpace(secrets[key])
	}
	for _, name := range []string{"accessKeyID", "secretAccessKey"} {
		if values[name] == "" {
			return nil, fmt.Errorf("secret: %s is missing", name)
		}
	}
	for name, v := range values {
		if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == ':' && name == "accessKeyID" || r > 0x7e }) {
			return nil, fmt.Errorf("secret: %s has characters that no key has", name)
		}
	}
	return &ObjectCredentials{values["accessKeyID"], values["secretAccessKey"], values["sessionToken"]}, nil
}

func secretName(key string) string {
	for name, keys := range secretNames {
		if slices.Contains(keys, key) {
			return name
		}
	}
	return ""
}

// Credentials reads the secrets that came with a request to stage the plan; nil stands
// for the mounter's own. A volume that was made with a secret is only mounted with one.
func (p ObjectPlan) Credentials(secrets map[string]string) (*ObjectCredentials, error) {
	c, err := ParseObjectCredentials(secrets)
	if err == nil && c == nil && p.Secret {
		return nil, fmt.Errorf("volume %s is mounted with the credentials of a secret, and none came: "+
			"give csi.storage.k8s.io/node-stage-secret-name and -namespace in the StorageClass, or nodeStageSecretRef in the volume", p.Handle)
	}
	return c, err
}
