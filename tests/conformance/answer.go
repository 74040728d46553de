package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	efstypes "github.com/aws/aws-sdk-go-v2/service/efs/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// answer is what a server said, as field to value: "Volumes[vol-a].State" is "available". An error is the field "error",
// with AWS's code and the HTTP status. What differs from run to run (ids, times) is replaced by what it stands for.
type answer map[string]string

// absent is the value of a field that an answer does not have.
const absent = "-"

// newAnswer reads an answer of the SDK. names are the ids that have a name in the table.
func newAnswer(out any, err error, names map[string]string) answer {
	a := answer{}
	if err != nil {
		a["error"] = describe(err)
		return a
	}
	a.add("", reflect.ValueOf(out), normaliser(names))
	return a
}

// find returns the first field that fits the pattern, as the server gave it.
func find(out any, pattern string) string {
	a := answer{}
	a.add("", reflect.ValueOf(out), func(s string) string { return s })
	for _, field := range fields(a) {
		if match(pattern, field) {
			return a[field]
		}
	}
	return ""
}

// describe gives an error's code and HTTP status. An answer that is no error of AWS's form has no code.
func describe(err error) string {
	status := 0
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Sprintf("not of AWS's form (%d)", status)
	}
	return fmt.Sprintf("%s (%d)", api.ErrorCode(), status)
}

// add walks a value of the SDK's types.
func (a answer) add(path string, v reflect.Value, normal func(string) string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			a.add(path, v.Elem(), normal)
		}
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			a[path] = "(time)"
			return
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			switch {
			case !field.IsExported() || field.Name == "ResultMetadata":
			case field.Name == "SecretAccessKey" || field.Name == "SessionToken":
				a[path+"."+field.Name] = "(secret)"
			default:
				a.add(strings.TrimPrefix(path+"."+field.Name, "."), v.Field(i), normal)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			a.add(path+"["+normal(elementKey(v.Index(i), i))+"]", v.Index(i), normal)
		}
	case reflect.String:
		// Enumerations are plain strings: an empty one was not in the answer.
		if v.String() != "" || v.Type() == reflect.TypeFor[string]() {
			a[path] = normal(v.String())
		}
	default:
		a[path] = fmt.Sprint(v.Interface())
	}
}

// keys are the fields by which an element of a list is known.
var keys = map[reflect.Type][]string{
	reflect.TypeFor[types.Volume]():                     {"VolumeId"},
	reflect.TypeFor[types.VolumeAttachment]():           {"InstanceId"},
	reflect.TypeFor[types.VolumeModification]():         {"VolumeId"},
	reflect.TypeFor[types.Snapshot]():                   {"SnapshotId"},
	reflect.TypeFor[types.SnapshotInfo]():               {"VolumeId"},
	reflect.TypeFor[types.Tag]():                        {"Key"},
	reflect.TypeFor[types.TagDescription]():             {"ResourceId", "Key"},
	reflect.TypeFor[types.AvailabilityZone]():           {"ZoneName"},
	reflect.TypeFor[types.InstanceStateChange]():        {"InstanceId"},
	reflect.TypeFor[types.InstanceBlockDeviceMapping](): {"DeviceName"},
	reflect.TypeFor[types.InstanceTypeInfo]():           {"InstanceType"},
	reflect.TypeFor[efstypes.Tag]():                     {"Key"},
	reflect.TypeFor[efstypes.FileSystemDescription]():   {"FileSystemId"},
	reflect.TypeFor[efstypes.MountTargetDescription]():  {"MountTargetId"},
	reflect.TypeFor[s3types.Tag]():                      {"Key"},
	reflect.TypeFor[s3types.Bucket]():                   {"Name"},
	reflect.TypeFor[s3types.Object]():                   {"Key"},
	reflect.TypeFor[s3types.ObjectVersion]():            {"Key", "VersionId"},
	reflect.TypeFor[s3types.DeleteMarkerEntry]():        {"Key", "VersionId"},
	reflect.TypeFor[s3types.DeletedObject]():            {"Key"},
	reflect.TypeFor[s3types.MultipartUpload]():          {"Key"},
	reflect.TypeFor[kmstypes.AliasListEntry]():          {"AliasName"},
}

// elementKey names an element of a list, so that the order of a list, which AWS leaves open, does not matter.
func elementKey(v reflect.Value, position int) string {
	if text, ok := v.Interface().(string); ok {
		return text
	}
	var key []string
	for _, name := range keys[v.Type()] {
		if field := reflect.Indirect(v.FieldByName(name)); field.IsValid() {
			key = append(key, field.String())
		}
	}
	if key == nil {
		return strconv.Itoa(position)
	}
	return strings.Join(key, " ")
}

// An id that the table does not name keeps its kind and its length.
var (
	resourceID = regexp.MustCompile(`\b([a-z]+)-([0-9a-f]{8,17})\b`)
	uuid       = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	principal  = regexp.MustCompile(`\b(ASIA[0-9A-Z]{16}|A(ROA|IDA)[0-9A-Z]{17})\b`)
	address    = regexp.MustCompile(`\b\d+([.-])\d+[.-]\d+[.-]\d+\b`)
	hardware   = regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
)

// normaliser replaces ids by their names.
func normaliser(names map[string]string) func(string) string {
	var pairs []string
	for id, name := range names {
		pairs = append(pairs, id, name)
	}
	named := strings.NewReplacer(pairs...)
	return func(s string) string {
		s = named.Replace(s)
		s = principal.ReplaceAllString(s, "(principal)")
		s = hardware.ReplaceAllString(address.ReplaceAllString(s, "(address)"), "(address)")
		s = uuid.ReplaceAllString(s, "(uuid)")
		return resourceID.ReplaceAllStringFunc(s, func(id string) string {
			kind, hex, _ := strings.Cut(id, "-")
			return fmt.Sprintf("%s-(%d)", kind, len(hex))
		})
	}
}

// fields are the names of all fields of the answers, in order.
func fields(answers ...answer) []string {
	seen := map[string]bool{}
	var all []string
	for _, a := range answers {
		for field := range a {
			if !seen[field] {
				seen[field] = true
				all = append(all, field)
			}
		}
	}
	sort.Strings(all)
	return all
}
