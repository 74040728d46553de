package backend

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Type is how a parameter's text is read.
type Type string

// The types of parameters.
const (
	String Type = "string"
	Int    Type = "integer"
	Bool   Type = "boolean"
	// KMSKey is an id, alias or ARN of a key; which one exists is AWS's to say.
	KMSKey Type = "KMS key"
	// Prefix marks a key that stands for every key that begins with it.
	Prefix Type = "prefix"
)

// Parameter declares one key. The checks, the reference page and the error messages
// come from it. Keys are compared without case, except those of type Prefix.
type Parameter struct {
	Key     string
	Aliases []string // other systems' names for the same thing
	Type    Type
	Default string
	OneOf   []string // if not empty, the only values
	Mutable bool     // may change while the volume lives
	Help    string   // one sentence, with the unit
}

// Parameters are the declared keys of a kind.
type Parameters []Parameter

// provisionerPrefix is what Kubernetes' provisioner writes among the parameters
// (--extra-create-metadata); such keys are not the user's.
const provisionerPrefix = "csi.storage.k8s.io/"

// FSTypeParameter names the file system in a StorageClass. Kubernetes' provisioner turns it into the capability's fs_type.
const FSTypeParameter = provisionerPrefix + "fstype"

// kmsKey are the forms of a KMS key's name. Servers that speak S3 have ids of their own.
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
var kmsKey = regexp.MustCompile(`^(arn:[a-z0-9-]+:kms:[A-Za-z0-9_.:/-]+|alias/[A-Za-z0-9_/-]+|[A-Za-z0-9_.-]+)$`)

const maxKMSKey = 2048

var (
	fileSystemName = regexp.MustCompile(`^[A-Za-z0-9.]{0,16}$`)
	objectName     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)
)

// checkReserved checks what is known of a key that belongs to Kubernetes: it ends in tags, paths and commands.
func checkReserved(key, value string) error {
	switch {
	case key == FSTypeParameter && !fileSystemName.MatchString(value):
		return fmt.Errorf("%.64q is no file system", value)
	case createdFor[key] != "" && value != "" && !objectName.MatchString(value):
		return fmt.Errorf("%.64q is no name of an object of Kubernetes", value)
	}
	return nil
}

// Values are decoded parameters under their declared keys.
type Values map[string]string

// Decode checks raw parameters against the declaration and returns them under their
// declared keys, defaults filled in. The error names the key, what is wrong with it
// and, for an unknown one, the nearest known name.
func (ps Parameters) Decode(raw map[string]string) (Values, error) {
	values := Values{}
	from := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if strings.HasPrefix(key, provisionerPrefix) {
			if err := checkReserved(key, raw[key]); err != nil {
				return nil, fmt.Errorf("parameter %q: %w", key, err)
			}
			values[key] = raw[key]
			continue
		}
		p, name, ok := ps.find(key)
		if !ok {
			return nil, fmt.Errorf("unknown parameter %q%s", key, ps.hint(key))
		}
		if err := p.check(raw[key]); err != nil {
			return nil, fmt.Errorf("parameter %q: %w", key, err)
		}
		if other, taken := from[name]; taken {
			return nil, fmt.Errorf("parameters %q and %q mean the same; give one", other, key)
		}
		from[name] = key
		values[name] = p.canonical(raw[key])
	}
	for _, p := range ps {
		if _, ok := values[p.Key]; !ok && p.Default != "" {
			values[p.Key] = p.Default
		}
	}
	return values, nil
}

// Known reports whether a key is declared.
func (ps Parameters) Known(key string) bool {
	_, _, ok := ps.find(key)
	return ok
}

// Name is the declared key that a key or alias stands for; "" for an unknown one.
func (ps Parameters) Name(key string) string {
	_, name, _ := ps.find(key)
	return name
}

// Names lists every declared key and alias.
func (ps Parameters) Names() []string {
	var names []string
	for _, p := range ps {
		names = append(append(names, p.Key), p.Aliases...)
	}
	return names
}

// Aliases lists all names of what a key means; none for an unknown key.
func (ps Parameters) Aliases(key string) []string {
	p, _, ok := ps.find(key)
	if !ok {
		return nil
	}
	return append([]string{p.Key}, p.Aliases...)
}

// find returns the declaration of a key or alias, and the name it is stored under.
func (ps Parameters) find(key string) (Parameter, string, bool) {
	for _, p := range ps {
		if p.Type == Prefix {
			if strings.HasPrefix(key, p.Key) && len(key) > len(p.Key) {
				return p, key, true
			}
			continue
		}
		for _, name := range append([]string{p.Key}, p.Aliases...) {
			if strings.EqualFold(name, key) {
				return p, p.Key, true
			}
		}
	}
	return Parameter{}, "", false
}

// hint names the parameter that was probably meant, else all there are.
func (ps Parameters) hint(key string) string {
	known := map[string]string{} // without case, as keys are compared
	for _, p := range ps {
		for _, name := range append([]string{p.Key}, p.Aliases...) {
			known[strings.ToLower(name)] = name
		}
	}
	if near := volume.Nearest(strings.ToLower(key), slices.Collect(maps.Keys(known))); near != "" {
		return fmt.Sprintf("; did you mean %q?", known[near])
	}
	return "; known are " + strings.Join(slices.Sorted(maps.Values(known)), ", ")
}

func (p Parameter) check(value string) error {
	switch p.Type {
	case Int:
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 0 {
			return fmt.Errorf("%q is not a whole number from 0 to 2147483647", value)
		}
	case Bool:
		if _, err := strconv.ParseBool(value); err != nil {
			return fmt.Errorf("%q is not true or false", value)
		}
	case KMSKey:
		if value != "" && (len(value) > maxKMSKey || !kmsKey.MatchString(value)) {
			return fmt.Errorf("%.64q is no KMS key: give its id, alias/NAME, or arn:aws:kms:REGION:ACCOUNT:key/ID", value)
		}
	case String, Prefix:
	}
	if len(p.OneOf) > 0 && !slices.ContainsFunc(p.OneOf, func(v string) bool { return strings.EqualFold(v, value) }) {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(p.OneOf, ", "))
	}
	return nil
}

func (p Parameter) canonical(value string) string {
	if len(p.OneOf) > 0 {
		return strings.ToLower(value)
	}
	return value
}

// Int returns a decoded whole number, 0 where it is not set.
func (v Values) Int(key string) int64 {
	n, _ := strconv.ParseInt(v[key], 10, 64) // Decode has checked it
	return n
}

// Bool returns a decoded truth, false where it is not set.
func (v Values) Bool(key string) bool {
	b, _ := strconv.ParseBool(v[key]) // Decode has checked it
	return b
}
