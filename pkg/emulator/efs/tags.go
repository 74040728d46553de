package efs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// maxTags of a resource: https://docs.aws.amazon.com/efs/latest/ug/manage-fs-tags.html
const maxTags = 50

// tagText is what keys and values are made of: https://docs.aws.amazon.com/efs/latest/ug/API_Tag.html
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

type tag struct{ Key, Value string }

func tagList(tags map[string]string) []tag {
	out := []tag{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tag{k, tags[k]})
	}
	return out
}

func readTags(list []tag) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range list {
		if t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || utf8.RuneCountInString(t.Value) > 256 || strings.HasPrefix(strings.ToLower(t.Key), "aws:") || !tagText.MatchString(t.Key+t.Value) {
			return nil, bad("The tag '%s' is not allowed", t.Key)
		}
		tags[t.Key] = t.Value
	}
	if len(tags) > maxTags {
		return nil, bad("A resource has at most %d tags", maxTags)
	}
	return tags, nil
}

func (s *Service) tagResource(id string, _ *wire.Params, r request) (any, error) {
	tags, err := readTags(r.Tags)
	if err != nil {
		return nil, err
	}
	return nil, s.retag(id, func(of map[string]string) error {
		maps.Copy(of, tags)
		if len(of) > maxTags {
			return bad("A resource has at most %d tags", maxTags)
		}
		return nil
	})
}

func (s *Service) untagResource(id string, query *wire.Params, _ request) (any, error) {
	return nil, s.retag(id, func(of map[string]string) error {
		for _, k := range query.All("tagKeys") {
			delete(of, k)
		}
		return nil
	})
}

// retag changes the tags of a file system or an access point.
func (s *Service) retag(id string, change func(map[string]string) error) error {
	return s.Store.Update(func() error {
		var tags *map[string]string
		if a, ok := s.Store.AccessPoints.Edit(id); ok {
			tags = &a.Tags
		} else if f, ok := s.Store.FileSystems.Edit(id); ok {
			tags = &f.Tags
		} else {
			return noResource(id)
		}
		if *tags == nil {
			*tags = map[string]string{}
		}
		return change(*tags)
	})
}

func noResource(id string) error {
	if strings.HasPrefix(id, "fsap-") {
		return noAccessPoint(id)
	}
	return noFileSystem(id)
}

func (s *Service) listTags(id string, _ *wire.Params, _ request) (any, error) {
	var tags map[string]string
	found := false
	s.Store.Read(func() {
		if a, ok := s.Store.AccessPoints.Seen(view, id); ok {
			tags, found = a.Tags, true
		}
		if f, ok := s.Store.FileSystems.Seen(view, id); ok {
			tags, found = f.Tags, true
		}
	})
	if !found {
		return nil, noResource(id)
	}
	return struct{ Tags []tag }{tagList(tags)}, nil
}
