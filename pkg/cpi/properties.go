package cpi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"context"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Keys of cloud_properties that are not parameters of a disk's shape.
const (
	keyTags      = "tags"
	keyName      = "name" // of dynamic disks: the caller's name, which finds the disk again
	keyEncrypted = "encrypted"
	keyKMSKey    = "kms_key_arn"
)

// diskProperties are cloud_properties of a disk, read.
type diskProperties struct {
	name       string
	parameters map[string]string
	tags       map[string]string
}

// properties reads cloud_properties. Unknown keys are a warning, for Directors send keys that a disk does not need, or
// an error where the operator wants it strict.
func (c *call) properties(ctx context.Context, i int) (diskProperties, error) {
	p := diskProperties{parameters: map[string]string{}}
	o, err := c.object(i, "cloud_properties")
	if err != nil {
		return p, err
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if key == keyTags || key == keyName || c.server.Parameters.Known(key) {
			continue
		}
		why := fmt.Sprintf("cloud_properties has the unknown key %.64q%s", key, near(key, c.server.Parameters.Names()))
		if c.settings.Own.Strict {
			return p, errorf(CloudError, "%s (diskbridge.strict is set)", why)
		}
		klog.FromContext(ctx).Info("Warning: "+why, "method", *c.Method)
	}
	if raw, ok := o[keyTags]; ok {
		tags := object{}
		if err := json.Unmarshal(raw, &tags); err != nil {
			return p, errorf(CloudError, "cloud_properties: tags must be an object of strings")
		}
		if p.tags, err = texts(tags); err != nil {
			return p, errorf(CloudError, "cloud_properties: tags: %v", err)
		}
	}
	if raw, ok := o[keyName]; ok {
		if p.name, _, err = scalar(raw); err != nil || len(p.name) > 255 {
			return p, errorf(CloudError, "cloud_properties: name must be a string of at most 255 bytes")
		}
	}
	return p, c.shape(o, &p)
}

// shape reads the parameters of a disk's shape, encryption resolved.
func (c *call) shape(o object, p *diskProperties) error {
	for _, key := range slices.Sorted(maps.Keys(o)) {
		raw := o[key]
		if key == keyTags || key == keyName || strings.EqualFold(key, keyEncrypted) || !c.server.Parameters.Known(key) {
			continue
		}
		text, isNull, err := scalar(raw)
		if err != nil {
			return errorf(CloudError, "cloud_properties: %s must be text or a number", key)
		}
		if !isNull && text != "" {
			p.parameters[c.server.Parameters.Name(key)] = text
		}
	}
	return c.encryption(o, p)
}

// encryption resolves the AWS CPI's matrix: a key that is present in cloud_properties wins over the global one, also
// where it is null. Other than there, "false" is false, and a disk that is not encrypted gets no key.
func (c *call) encryption(o object, p *diskProperties) error {
	var encrypted truth
	raw, said := o.find(keyEncrypted)
	switch {
	case said:
		if err := json.Unmarshal(raw, &encrypted); err != nil {
			return errorf(CloudError, "cloud_properties: encrypted must be true or false")
		}
	default:
		encrypted = c.settings.AWS.Encrypted
	}
	if said || bool(encrypted) {
		p.parameters[keyEncrypted] = fmt.Sprint(bool(encrypted))
	}
	for _, name := range c.server.Parameters.Aliases(keyKMSKey) {
		if !bool(encrypted) {
			delete(p.parameters, c.server.Parameters.Name(name))
		} else if _, said := o.find(name); said {
			return nil
		}
	}
	if bool(encrypted) && c.settings.AWS.KMSKeyARN != "" {
		p.parameters[c.server.Parameters.Name(keyKMSKey)] = c.settings.AWS.KMSKeyARN
	}
	return nil
}

// find returns the value of a key, whose case does not matter.
func (o object) find(key string) (json.RawMessage, bool) {
	for k, raw := range o {
		if strings.EqualFold(k, key) {
			return raw, true
		}
	}
	return nil, false
}

// near suggests what was probably meant.
func near(key string, known []string) string {
	if n := volume.Nearest(strings.ToLower(key), append(known, keyTags, keyName)); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}
