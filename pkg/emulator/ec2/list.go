package ec2

import (
	"encoding/base64"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// maxFilterValues is AWS's limit of values over all filters of one call:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
const maxFilterValues = 200

// listing is how one Describe call selects from all there is.
type listing[T any] struct {
	idParameter string // of ids to name; empty if there is none
	key         func(T) string
	checkIDs    func(ids ...string) error
	missing     func(ids ...string) error
	tags        func(T) map[string]string // nil if its filters know no tags
	fields      map[string]func(T) []string
	minResults  int // the smallest MaxResults; 0 is 1
}

// pick applies the request's ids, filters and page to all, which are sorted by key.
func (l listing[T]) pick(p *wire.Params, all []T) (page []T, next string, err error) {
	if l.idParameter != "" {
		if all, err = l.named(p, all); err != nil {
			return nil, "", err
		}
	}
	match, err := l.filter(p.Filters())
	if err != nil {
		return nil, "", err
	}
	limit, after, err := l.page(p)
	if err != nil {
		return nil, "", err
	}
	if err := allowed(p); err != nil {
		return nil, "", err
	}
	for _, v := range all {
		if l.key(v) <= after || !match(v) {
			continue
		}
		if limit > 0 && len(page) == limit {
			return page, encodeToken(l.key(page[limit-1])), nil
		}
		page = append(page, v)
	}
	return page, "", nil
}

func (l listing[T]) named(p *wire.Params, all []T) ([]T, error) {
	ids := p.List(l.idParameter)
	if len(ids) == 0 {
		return all, nil
	}
	if p.Has("MaxResults") {
		return nil, wire.Errorf("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", l.idParameter)
	}
	if err := l.checkIDs(ids...); err != nil {
		return nil, err
	}
	byID := make(map[string]T, len(all))
	for _, v := range all {
		byID[l.key(v)] = v
	}
	slices.Sort(ids)
	var found []T
	var missing []string
	for _, id := range slices.Compact(ids) {
		if v, ok := byID[id]; ok {
			found = append(found, v)
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return nil, l.missing(missing...)
	}
	return found, nil
}

func (l listing[T]) filter(filters []wire.Filter) (func(T) bool, error) {
	values := 0
	var tests []func(T) bool
	for _, f := range filters {
		field, ok := l.field(f.Name)
		if !ok {
			return nil, wire.Errorf("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
		}
		if values += len(f.Values); values > maxFilterValues {
			return nil, wire.Errorf("FilterLimitExceeded", "The maximum number of filter values specified on a single call is %d", maxFilterValues)
		}
		wanted := newMatcher(f.Values)
		tests = append(tests, func(v T) bool { return slices.ContainsFunc(field(v), wanted.match) })
	}
	return func(v T) bool {
		for _, test := range tests {
			if !test(v) {
				return false
			}
		}
		return true
	}, nil
}

func (l listing[T]) field(name string) (func(T) []string, bool) {
	if field, ok := l.fields[name]; ok {
		return field, true
	}
	if l.tags == nil {
		return nil, false
	}
	if name == "tag-key" {
		return func(v T) []string {
			var keys []string
			for k := range l.tags(v) {
				keys = append(keys, k)
			}
			return keys
		}, true
	}
	key, ok := strings.CutPrefix(name, "tag:")
	return func(v T) []string {
		if value, ok := l.tags(v)[key]; ok {
			return []string{value}
		}
		return nil
	}, ok
}

func (l listing[T]) page(p *wire.Params) (limit int, after string, err error) {
	if p.Has("MaxResults") {
		limit = p.Int("MaxResults")
		if least := max(l.minResults, 1); limit < least {
			return 0, "", wire.Errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than or equal to %d.", limit, least)
		}
		limit = min(limit, 1000)
	}
	token := p.String("NextToken")
	if token == "" {
		return limit, "", nil
	}
	data, decodeErr := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(data), "after:")
	if decodeErr != nil || !ok {
		return 0, "", wire.Errorf("InvalidParameterValue", "Value (%s) for parameter nextToken is invalid.", token)
	}
	return limit, after, nil
}

func encodeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("after:" + after))
}

// matcher tells whether a value is one of those wanted, which may hold the wildcards * and ?.
type matcher struct {
	exact    map[string]bool
	patterns []string
}

func newMatcher(values []string) matcher {
	m := matcher{exact: map[string]bool{}}
	// path.Match has AWS's wildcards, but also classes, and its * stops at a slash.
	escape := strings.NewReplacer("[", `\[`, "/", "\x00")
	for _, v := range values {
		if strings.ContainsAny(v, `*?\`) {
			m.patterns = append(m.patterns, escape.Replace(v))
		} else {
			m.exact[v] = true
		}
	}
	return m
}

func (m matcher) match(value string) bool {
	return m.exact[value] || slices.ContainsFunc(m.patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, strings.ReplaceAll(value, "/", "\x00"))
		return err == nil && ok
	})
}

func one(v string) []string   { return []string{v} }
func num(n int) []string      { return []string{strconv.Itoa(n)} }
func truth(b bool) []string   { return []string{strconv.FormatBool(b)} }
func at(t time.Time) []string { return []string{string(wire.NewTime(t))} }
func some(values ...string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}
