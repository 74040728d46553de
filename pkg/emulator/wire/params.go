package wire

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Params are the parameters of a Query request. The first parameter that cannot be read is kept and told by [Params.Err].
type Params struct {
	values url.Values
	err    *Error
}

// NewParams reads a form.
func NewParams(values url.Values) *Params { return &Params{values: values} }

// Err is why a parameter could not be read, nil if all could.
func (p *Params) Err() error {
	if p.err == nil {
		return nil
	}
	return p.err
}

// Has says whether the parameter was sent.
func (p *Params) Has(name string) bool { return p.values.Has(name) }

// String is the parameter, empty if it was not sent.
func (p *Params) String(name string) string { return p.values.Get(name) }

// All are the values of a parameter that was sent several times.
func (p *Params) All(name string) []string { return p.values[name] }

// Names says whether any parameter has the value.
func (p *Params) Names(value string) bool {
	for _, values := range p.values {
		if slices.Contains(values, value) {
			return true
		}
	}
	return false
}

// Required is the parameter, which must be sent.
func (p *Params) Required(name string) string {
	v := p.values.Get(name)
	if v == "" {
		p.fail(Errorf("MissingParameter", "The request must contain the parameter %s", lowerFirst(name)))
	}
	return v
}

// Int is the parameter as a number, 0 if it was not sent.
func (p *Params) Int(name string) int {
	v := p.values.Get(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		p.fail(Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected an integer.", v, lowerFirst(name)))
	}
	return int(n)
}

// Bool is the parameter as a truth value, false if it was not sent.
func (p *Params) Bool(name string) bool {
	v := p.values.Get(name)
	if v == "" {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		p.fail(Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected true or false.", v, lowerFirst(name)))
	}
	return b
}

// Time is the parameter as a time, zero if it was not sent.
func (p *Params) Time(name string) time.Time {
	v := p.values.Get(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		p.fail(Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected a timestamp.", v, lowerFirst(name)))
	}
	return t
}

// List are NAME.1, NAME.2, … in their order.
func (p *Params) List(name string) []string {
	var out []string
	for _, i := range p.indexes(name) {
		out = append(out, p.values.Get(name+"."+i))
	}
	return out
}

// Items are the structures NAME.1.*, NAME.2.*, … in their order.
func (p *Params) Items(name string) []*Params {
	var out []*Params
	for _, i := range p.indexes(name) {
		prefix := name + "." + i + "."
		item := url.Values{}
		for k, v := range p.values {
			if rest, ok := strings.CutPrefix(k, prefix); ok {
				item[rest] = v
			}
		}
		out = append(out, &Params{values: item})
	}
	return out
}

func (p *Params) indexes(name string) []string {
	found := map[string]bool{}
	for k := range p.values {
		if rest, ok := strings.CutPrefix(k, name+"."); ok {
			i, _, _ := strings.Cut(rest, ".")
			if _, err := strconv.Atoi(i); err == nil {
				found[i] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
}

// Filter is one Filter.N.
type Filter struct {
	Name   string
	Values []string
}

// Filters are the Filter.N.
func (p *Params) Filters() []Filter {
	var out []Filter
	for _, f := range p.Items("Filter") {
		out = append(out, Filter{Name: f.String("Name"), Values: f.List("Value")})
	}
	return out
}

// Fingerprint is the request without the named parameters, the same for equal requests.
func (p *Params) Fingerprint(without ...string) string {
	rest := maps.Clone(p.values)
	for _, name := range without {
		rest.Del(name)
	}
	return rest.Encode()
}

func (p *Params) fail(err *Error) {
	if p.err == nil {
		p.err = err
	}
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// Unpaged says whether the request names no id, no filter and no page size.
func (p *Params) Unpaged() bool {
	for k := range p.values {
		if k == "MaxResults" || strings.HasPrefix(k, "Filter.") || strings.HasSuffix(k, "Id.1") {
			return false
		}
	}
	return true
}
