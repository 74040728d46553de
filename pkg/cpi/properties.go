package cpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
func (c *call) properties(ctx context.Context, i int) diskProperties {
	p := diskProperties{parameters: map[string]string{}}
	o := c.object(i, "cloud_properties")
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if err := c.property(ctx, key, o[key], &p); err != nil {
			c.fail(errorf(CloudError, "cloud_properties: %v", err))
		}
	}
	if err := c.encryption(o, &p); err != nil {
		c.fail(errorf(CloudError, "cloud_properties: %v", err))
	}
	return p
}

// property reads one of cloud_properties. Encryption is resolved when all are known.
func (c *call) property(ctx context.Context, key string, raw json.RawMessage, p *diskProperties) error {
	known := c.server.Parameters
	switch {
	case key == keyTags:
		var tags object
		err := json.Unmarshal(raw, &tags)
		if err != nil {
			return errors.New("tags must be an object of strings")
		}
		if p.tags, err = texts(tags); err != nil {
			return fmt.Errorf("tags: %w", err)
		}
	case key == keyName:
		var err error
		if p.name, _, err = scalar(raw); err != nil || len(p.name) > 255 {
			return errors.New("name must be a string of at most 255 bytes")
		}
	case !known.Known(key):
		why := fmt.Sprintf("unknown key %.64q%s", key, near(key, known.Names()))
		if c.settings.Own.Strict {
			return errors.New(why + " (diskbridge.strict is set)")
		}
		klog.FromContext(ctx).Info("Warning: cloud_properties: "+why, "method", *c.Method)
	case !strings.EqualFold(key, keyEncrypted):
		text, _, err := scalar(raw)
		if err != nil {
			return fmt.Errorf("%s must be text or a number", key)
		}
		if text != "" {
			p.parameters[known.Name(key)] = text
		}
	}
	return nil
}

// encryption resolves the AWS CPI's matrix: a key that is present in cloud_properties wins over the global one, also
// where it is null. Other than there, "false" is false, and a disk that is not encrypted gets no key.
func (c *call) encryption(o object, p *diskProperties) error {
	var encrypted truth
	raw, said := o.find(keyEncrypted)
	switch {
	case said:
		if err := json.Unmarshal(raw, &encrypted); err != nil {
			return errors.New("encrypted must be true or false")
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

// find returns the value of a key, whose case does not matter. Of several it is the last in the order in which properties
// are read, as for every other key.
func (o object) find(key string) (raw json.RawMessage, found bool) {
	for _, k := range slices.Sorted(maps.Keys(o)) {
		if strings.EqualFold(k, key) {
			raw, found = o[k], true
		}
	}
	return raw, found
}

// near suggests what was probably meant.
func near(key string, known []string) string {
	if n := volume.Nearest(strings.ToLower(key), append(known, keyTags, keyName)); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}
