package cpi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Settings are what the configuration file and the request's context say together.
type Settings struct {
	AWS      AWS
	Own      Own
	Director string // UUID from the context
	// APIVersion is debug.cpi.api_version; 0 where it is not set.
	APIVersion int
}

// AWS are the properties of the AWS CPI (bosh-aws-cpi-release, jobs/aws_cpi/spec) that a disk needs.
type AWS struct {
	CredentialsSource string `json:"credentials_source"`
	AccessKeyID       string `json:"access_key_id"`
	SecretAccessKey   string `json:"secret_access_key"`
	SessionToken      string `json:"session_token"`
	RoleARN           string `json:"role_arn"`
	Region            string `json:"region"`
	EC2Endpoint       string `json:"ec2_endpoint"`
	ELBEndpoint       string `json:"elb_endpoint"`
	Dualstack         truth  `json:"dualstack"`
	Encrypted         truth  `json:"encrypted"`
	KMSKeyARN         string `json:"kms_key_arn"`
}

// Own are our own properties, the object "diskbridge" in the file and in the context.
type Own struct {
	Endpoints     map[string]string `json:"endpoints"` // of ec2, sts and imds
	Delegate      Delegate          `json:"delegate"`
	Strict        bool              `json:"strict"`         // refuse unknown cloud_properties
	UnknownLayout string            `json:"unknown_layout"` // allow or refuse
	SnapshotWait  string            `json:"snapshot_wait"`  // pending or completed
	Zone          string            `json:"availability_zone"`
	Tags          map[string]string `json:"tags"`
	Timeouts      map[string]int    `json:"timeouts"` // seconds, by method
	// AbsenceIntervalMS replaces the interval of two not-found answers; only for emulators whose clock runs faster.
	AbsenceIntervalMS int `json:"absence_interval_ms"`
}

// Delegate is another CPI's executable, which serves what is not about disks.
type Delegate struct {
	ExecPath        string   `json:"exec_path"`
	StemcellFormats []string `json:"stemcell_formats"` // what info answers; the delegate is never asked
	APIVersion      int      `json:"api_version"`
}

// AbsenceInterval is AbsenceIntervalMS as a duration; 0 means the default.
func (o Own) AbsenceInterval() time.Duration {
	return time.Duration(o.AbsenceIntervalMS) * time.Millisecond
}

// truth is a boolean that also comes as text; the text "false" is false.
type truth bool

// UnmarshalJSON implements json.Unmarshaler.
func (t *truth) UnmarshalJSON(text []byte) error {
	switch strings.ToLower(strings.Trim(string(text), `"`)) {
	case "true":
		*t = true
	case "false", "null", "":
		*t = false
	default:
		return errors.New("it is neither true nor false")
	}
	return nil
}

// object is a JSON object whose values are not looked at yet.
type object map[string]json.RawMessage

// notAWS are keys of a context that mean something else than in the AWS CPI's properties.
var notAWS = []string{"director_uuid", "request_id", "vm", "diskbridge"}

// load reads the file and puts the context's keys over its own. path may be empty: then the context is all there is.
func load(path string, context object) (Settings, error) {
	properties, err := readFile(path)
	if err != nil {
		return Settings{}, err
	}
	aws, err := inner(properties, "aws")
	if err != nil {
		return Settings{}, err
	}
	own, err := inner(properties, "diskbridge")
	if err != nil {
		return Settings{}, err
	}
	ownHere, err := inner(context, "diskbridge")
	if err != nil {
		return Settings{}, fmt.Errorf("context: %w", err)
	}
	for key, value := range context {
		if !slices.Contains(notAWS, key) {
			aws[key] = value
		}
	}
	return merged(properties, aws, overlay(own, ownHere), context)
}

// overlay puts the keys of one object over another's, down to the last object.
func overlay(under, over object) object {
	out := maps.Clone(under)
	for key, value := range over {
		var a, b object
		if json.Unmarshal(under[key], &a) == nil && json.Unmarshal(value, &b) == nil && a != nil && b != nil {
			if both, err := json.Marshal(overlay(a, b)); err == nil { // it was JSON
				value = both
			}
		}
		out[key] = value
	}
	return out
}

func merged(properties, aws, own, context object) (s Settings, err error) {
	if err := fill(aws, &s.AWS, false); err != nil {
		return s, fmt.Errorf("aws: %w", err)
	}
	s.Own = Own{UnknownLayout: "refuse", SnapshotWait: "pending"}
	if err := fill(own, &s.Own, true); err != nil {
		return s, fmt.Errorf("diskbridge: %w", err)
	}
	var debug struct {
		CPI struct {
			APIVersion int `json:"api_version"`
		} `json:"cpi"`
	}
	if raw, ok := properties["debug"]; ok {
		if err := json.Unmarshal(raw, &debug); err != nil {
			return s, errors.New("debug: it is not of the form {\"cpi\":{\"api_version\":2}}")
		}
	}
	s.APIVersion = debug.CPI.APIVersion
	if raw, ok := context["director_uuid"]; ok {
		if err := json.Unmarshal(raw, &s.Director); err != nil {
			return s, errors.New("context: director_uuid is no string")
		}
	}
	if !directorUUID.MatchString(s.Director) {
		return s, errors.New("context: director_uuid has characters that no UUID has")
	}
	if s.AWS.CredentialsSource == "" {
		s.AWS.CredentialsSource = "static"
	}
	return s, nil
}

var directorUUID = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}$`)

// readFile returns cloud.properties.
func readFile(path string) (object, error) {
	if path == "" {
		return object{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	var file struct {
		Cloud struct {
			Properties object `json:"properties"`
		} `json:"cloud"`
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return object{}, nil
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("the configuration %s is not of the form {\"cloud\":{\"properties\":{…}}}", path) // its text may be secret
	}
	if file.Cloud.Properties == nil {
		return object{}, nil
	}
	return file.Cloud.Properties, nil
}

// inner is the object under a key; empty where there is none.
func inner(o object, key string) (object, error) {
	out := object{}
	if raw, ok := o[key]; ok {
		if err := json.Unmarshal(raw, &out); err != nil {
			return nil, fmt.Errorf("%s is no object", key)
		}
	}
	if out == nil {
		out = object{}
	}
	return out, nil
}

// fill fills a struct from an object. Errors name the key and never quote a value. Unknown keys are refused if closed.
func fill(o object, into any, closed bool) error {
	known := knownKeys(into)
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(known, key) {
			if !closed {
				continue
			}
			if near := volume.Nearest(key, known); near != "" {
				return fmt.Errorf("unknown key %.64q; did you mean %q?", key, near)
			}
			return fmt.Errorf("unknown key %.64q; known are %s", key, strings.Join(known, ", "))
		}
		text, err := json.Marshal(object{key: o[key]})
		if err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		if closed {
			d.DisallowUnknownFields()
		}
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("%s is wrong: %s", key, shape(err))
		}
	}
	return nil
}

// shape says what is wrong with a value without quoting it.
func shape(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return fmt.Sprintf("a JSON %s stands where %s belongs", strings.Fields(wrongType.Value)[0], wrongType.Type)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// knownKeys are the JSON names of a struct's fields.
func knownKeys(of any) []string {
	var all object
	text, _ := json.Marshal(of) // plain data
	_ = json.Unmarshal(text, &all)
	return slices.Sorted(maps.Keys(all))
}

// maxTimeout is the most seconds that a method may take: a day.
const maxTimeout = 24 * 60 * 60

// spaced returns the key of a setting that has a space, a line break or another character that none of AWS's has, or "".
func (a AWS) spaced() string {
	for _, of := range []struct{ key, value string }{
		{"access_key_id", a.AccessKeyID},
		{"secret_access_key", a.SecretAccessKey},
		{"session_token", a.SessionToken},
		{"role_arn", a.RoleARN},
		{"region", a.Region},
		{"kms_key_arn", a.KMSKeyARN},
	} {
		if strings.ContainsFunc(of.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return of.key
		}
	}
	return ""
}

// check looks at what only a call to AWS needs; the errors name the key and the fix.
func (s *Settings) check() error {
	a := &s.AWS
	if key := a.spaced(); key != "" {
		return fmt.Errorf("%s has a space, a line break or another character that AWS's have not; remove it (in YAML a text that begins with | ends with a line break, one with |- does not)", key)
	}
	switch {
	case a.CredentialsSource == "static" && (a.AccessKeyID == "" || a.SecretAccessKey == ""):
		return errors.New("credentials_source static needs access_key_id and secret_access_key; on an instance with a role use env_or_profile")
	case a.CredentialsSource == "env_or_profile" && (a.AccessKeyID != "" || a.SecretAccessKey != ""):
		return errors.New("credentials_source env_or_profile forbids access_key_id and secret_access_key; remove them, or use static")
	case a.CredentialsSource != "static" && a.CredentialsSource != "env_or_profile":
		return fmt.Errorf("credentials_source %.40q is neither static nor env_or_profile", a.CredentialsSource)
	case s.Own.UnknownLayout != "allow" && s.Own.UnknownLayout != "refuse":
		return fmt.Errorf("diskbridge.unknown_layout %.40q is neither allow nor refuse", s.Own.UnknownLayout)
	case s.Own.SnapshotWait != "pending" && s.Own.SnapshotWait != "completed":
		return fmt.Errorf("diskbridge.snapshot_wait %.40q is neither pending nor completed", s.Own.SnapshotWait)
	}
	if s.Own.Endpoints == nil {
		s.Own.Endpoints = map[string]string{}
	}
	if s.Own.Endpoints["ec2"] == "" && a.EC2Endpoint != "" {
		s.Own.Endpoints["ec2"] = a.EC2Endpoint
	}
	for _, name := range slices.Sorted(maps.Keys(s.Own.Endpoints)) {
		whole, err := endpoint(s.Own.Endpoints[name])
		if err != nil || !slices.Contains([]string{"ec2", "sts", "imds"}, name) {
			return fmt.Errorf("diskbridge.endpoints: %.40q is not a URL of ec2, sts or imds", name)
		}
		s.Own.Endpoints[name] = whole
	}
	m := regionInHost.FindStringSubmatch(s.Own.Endpoints["ec2"])
	switch {
	case a.Region == "" && m == nil:
		return errors.New("no region is known; set region")
	case a.Region == "":
		a.Region = m[1]
	case m != nil && m[1] != a.Region:
		return fmt.Errorf("region is %.40q, but EC2's endpoint %.100q is region %s's, and AWS refuses what is signed for another; "+
			"set region and ec2_endpoint (or diskbridge.endpoints) to the same, or leave the endpoint out", a.Region, s.Own.Endpoints["ec2"], m[1])
	}
	for _, method := range slices.Sorted(maps.Keys(s.Own.Timeouts)) {
		if known := methods()[method]; known.limit == 0 || s.Own.Timeouts[method] < 1 || s.Own.Timeouts[method] > maxTimeout {
			return fmt.Errorf("diskbridge.timeouts: %.40q is no method of ours, or its seconds are not from 1 to %d", method, maxTimeout)
		}
	}
	return nil
}

// regionInHost finds the region in EC2's own host names, and in those of its VPC endpoints.
var regionInHost = regexp.MustCompile(`^https?://(?:vpce-[a-z0-9-]+\.)?ec2(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws)`)

// endpoint adds the scheme that the AWS CPI's properties leave out.
func endpoint(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", errors.New("it is no URL")
	}
	return text, nil
}

// secrets are the values that no log and no answer may show, also as they look between quotation marks.
func (s *Settings) secrets() []string {
	var all []string
	for _, v := range []string{s.AWS.SecretAccessKey, s.AWS.SessionToken} {
		v = strings.TrimSpace(v)
		if quoted := strconv.Quote(v); len(v) >= 4 {
			all = append(all, v, quoted[1:len(quoted)-1])
		}
	}
	return all
}
