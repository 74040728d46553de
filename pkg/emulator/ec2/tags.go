package ec2

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// AWS's tag rules: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxTags     = 50
	maxTagKey   = 128 // characters
	maxTagValue = 256 // characters
)

func checkTags(tags map[string]string) error {
	for k, v := range tags {
		switch {
		case k == "":
			return wire.Errorf("InvalidParameterValue", "Tag key cannot be empty.")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return wire.Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case utf8.RuneCountInString(k) > maxTagKey:
			return wire.Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case utf8.RuneCountInString(v) > maxTagValue:
			return wire.Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		}
	}
	if len(tags) > maxTags {
		return wire.Errorf("TagLimitExceeded", "More than %d tags specified", maxTags)
	}
	return nil
}

func readTags(items []*wire.Params) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range items {
		k := t.String("Key")
		if _, twice := tags[k]; twice {
			return nil, wire.Errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", k)
		}
		tags[k] = t.String("Value")
	}
	return tags, checkTags(tags)
}

// tagSpecifications are the tags that a create call gives to resources of that type.
func tagSpecifications(p *wire.Params, resource string) (map[string]string, error) {
	var items []*wire.Params
	for _, spec := range p.Items("TagSpecification") {
		if t := spec.String("ResourceType"); t != resource {
			return nil, wire.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", t)
		}
		items = append(items, spec.Items("Tag")...)
	}
	return readTags(items)
}

func (s *Service) createTags(_ context.Context, p *wire.Params) (any, error) {
	tags, err := readTags(p.Items("Tag"))
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter tag")
	}
	return s.retag(p, func(of map[string]string) error {
		for k, v := range tags {
			of[k] = v
		}
		if len(of) > maxTags {
			return wire.Errorf("TagLimitExceeded", "You have reached the maximum number of tags for this resource. Limit: %d.", maxTags)
		}
		return nil
	})
}

// deleteTags deletes tags by key, by key and value, or all.
func (s *Service) deleteTags(_ context.Context, p *wire.Params) (any, error) {
	items := p.Items("Tag")
	return s.retag(p, func(of map[string]string) error {
		if len(items) == 0 {
			clear(of)
		}
		for _, t := range items {
			k := t.String("Key")
			if !t.Has("Value") || of[k] == t.String("Value") {
				delete(of, k)
			}
		}
		return nil
	})
}

func (s *Service) retag(p *wire.Params, change func(map[string]string) error) (any, error) {
	ids := p.List("ResourceId")
	if len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	err := s.Store.Update(func() error {
		for _, id := range ids {
			tags, err := s.editableTags(id)
			if err != nil {
				return err
			}
			if err := change(tags); err != nil {
				return err
			}
		}
		return allowed(p)
	})
	return simpleResult{true}, err
}

// editableTags are the tags of any resource, to be changed within the running update.
func (s *Service) editableTags(id string) (map[string]string, error) {
	kind, _, _ := strings.Cut(id, "-")
	switch {
	case kind == "vol" && wellFormed(kind, id):
		if _, err := s.volume(id); err != nil {
			return nil, err
		}
		v, _ := s.Store.Volumes.Edit(id)
		return made(&v.Tags), nil
	case kind == "snap" && wellFormed(kind, id):
		if _, err := s.snapshot(id); err != nil {
			return nil, err
		}
		v, _ := s.Store.Snapshots.Edit(id)
		return made(&v.Tags), nil
	case kind == "i" && wellFormed(kind, id):
		if _, err := s.instance(id); err != nil {
			return nil, err
		}
		v, _ := s.Store.Instances.Edit(id)
		return made(&v.Tags), nil
	}
	return nil, wire.Errorf("InvalidID", "The ID '%s' is not valid", id)
}

func made(tags *map[string]string) map[string]string {
	if *tags == nil {
		*tags = map[string]string{}
	}
	return *tags
}

// tagItem is one tag of one resource.
type tagItem struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

func (s *Service) describeTags(_ context.Context, p *wire.Params) (any, error) {
	var all []tagItem
	add := func(id, kind string, tags map[string]string) {
		for k, v := range tags {
			all = append(all, tagItem{id, kind, k, v})
		}
	}
	s.Store.Read(func() {
		for _, v := range s.visibleVolumes(viewTags) {
			add(v.ID, "volume", v.Tags)
		}
		for _, v := range s.Store.Snapshots.All(viewTags) {
			if !v.Public {
				add(v.ID, "snapshot", v.Tags)
			}
		}
		for _, v := range s.Store.Instances.All(viewTags) {
			add(v.ID, "instance", v.Tags)
		}
	})
	key := func(t tagItem) string { return t.ResourceID + "\x00" + t.Key }
	slices.SortFunc(all, func(a, b tagItem) int { return cmp.Compare(key(a), key(b)) })
	items, next, err := listing[tagItem]{
		key: key, minResults: 5,
		tags: func(t tagItem) map[string]string { return map[string]string{t.Key: t.Value} },
		fields: map[string]func(tagItem) []string{
			"key":           func(t tagItem) []string { return one(t.Key) },
			"value":         func(t tagItem) []string { return one(t.Value) },
			"tag-value":     func(t tagItem) []string { return one(t.Value) },
			"resource-id":   func(t tagItem) []string { return one(t.ResourceID) },
			"resource-type": func(t tagItem) []string { return one(t.ResourceType) },
		},
	}.pick(p, all)
	return struct {
		Tags []tagItem `xml:"tagSet>item"`
		Next string    `xml:"nextToken,omitempty"`
	}{items, next}, err
}

// tag is how resources show a tag.
type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func tagSet(tags map[string]string) []tag {
	var out []tag
	for k, v := range tags {
		out = append(out, tag{k, v})
	}
	slices.SortFunc(out, func(a, b tag) int { return cmp.Compare(a.Key, b.Key) })
	return out
}
