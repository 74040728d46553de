package efs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/lifecycle"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// Name is the service's name in signatures.
const Name = "elasticfilesystem"

// view is what EFS's reads lag behind in.
const view store.View = "efs"

// Config is what the service stands on.
type Config struct {
	Store   *store.Store
	Life    *lifecycle.Engine
	Clock   *clock.Clock
	Account string
	Region  string
	Zones   []string // in order; their ids are made from it
}

// Service answers EFS actions.
type Service struct{ Config }

// New makes a service.
func New(c Config) *Service { return &Service{c} }

// version is what every path begins with: https://docs.aws.amazon.com/efs/latest/ug/API_Operations.html
const version = "/2015-02-01/"

// routes are the actions by method and path, in which * is an id.
func routes() map[string]string {
	return map[string]string{
		"POST file-systems":                          "CreateFileSystem",
		"GET file-systems":                           "DescribeFileSystems",
		"PUT file-systems/*":                         "UpdateFileSystem",
		"DELETE file-systems/*":                      "DeleteFileSystem",
		"GET file-systems/*/lifecycle-configuration": "DescribeLifecycleConfiguration",
		"PUT file-systems/*/lifecycle-configuration": "PutLifecycleConfiguration",
		"GET file-systems/*/backup-policy":           "DescribeBackupPolicy",
		"PUT file-systems/*/backup-policy":           "PutBackupPolicy",
		"POST mount-targets":                         "CreateMountTarget",
		"GET mount-targets":                          "DescribeMountTargets",
		"DELETE mount-targets/*":                     "DeleteMountTarget",
		"GET mount-targets/*/security-groups":        "DescribeMountTargetSecurityGroups",
		"PUT mount-targets/*/security-groups":        "ModifyMountTargetSecurityGroups",
		"POST access-points":                         "CreateAccessPoint",
		"GET access-points":                          "DescribeAccessPoints",
		"DELETE access-points/*":                     "DeleteAccessPoint",
		"POST resource-tags/*":                       "TagResource",
		"DELETE resource-tags/*":                     "UntagResource",
		"GET resource-tags/*":                        "ListTagsForResource",
	}
}

// Route is the action that a request means, empty for none, and the id in its path.
func Route(method, path string) (action, id string) {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(path, version), "/"), "/")
	if len(parts) > 1 {
		id, parts[1] = parts[1], "*"
	}
	return routes()[method+" "+strings.Join(parts, "/")], id
}

// Status is the HTTP status of an action's success; a failure keeps its own.
func Status(action string, status int) int {
	switch {
	case status != http.StatusOK:
		return status
	case action == "CreateFileSystem":
		return http.StatusCreated
	case action == "UpdateFileSystem":
		return http.StatusAccepted
	case action == "DeleteFileSystem", action == "DeleteMountTarget", action == "DeleteAccessPoint", action == "ModifyMountTargetSecurityGroups":
		return http.StatusNoContent
	}
	return status
}

// request holds the members of all actions' bodies.
type request struct {
	CreationToken, ClientToken   string
	PerformanceMode              string
	ThroughputMode               string
	ProvisionedThroughputInMibps float64
	Encrypted                    bool
	KmsKeyID                     string `json:"KmsKeyId"`
	AvailabilityZoneName         string
	Backup                       *bool
	Tags                         []tag
	FileSystemID                 string `json:"FileSystemId"`
	SubnetID                     string `json:"SubnetId"`
	IPAddress                    string `json:"IpAddress"`
	SecurityGroups               []string
	PosixUser                    *store.PosixUser
	RootDirectory                *store.RootDirectory
	LifecyclePolicies            []store.Transition
	BackupPolicy                 struct{ Status string }

	becomes string // the state of what is made, in the end
}

type handler func(id string, query *wire.Params, r request) (any, error)

func (s *Service) actions() map[string]handler {
	return map[string]handler{
		"CreateFileSystem":                  s.createFileSystem,
		"DescribeFileSystems":               s.describeFileSystems,
		"UpdateFileSystem":                  s.updateFileSystem,
		"DeleteFileSystem":                  s.deleteFileSystem,
		"DescribeLifecycleConfiguration":    s.describeLifecycle,
		"PutLifecycleConfiguration":         s.putLifecycle,
		"DescribeBackupPolicy":              s.describeBackup,
		"PutBackupPolicy":                   s.putBackup,
		"CreateMountTarget":                 s.createMountTarget,
		"DescribeMountTargets":              s.describeMountTargets,
		"DeleteMountTarget":                 s.deleteMountTarget,
		"DescribeMountTargetSecurityGroups": s.describeGroups,
		"ModifyMountTargetSecurityGroups":   s.modifyGroups,
		"CreateAccessPoint":                 s.createAccessPoint,
		"DescribeAccessPoints":              s.describeAccessPoints,
		"DeleteAccessPoint":                 s.deleteAccessPoint,
		"TagResource":                       s.tagResource,
		"UntagResource":                     s.untagResource,
		"ListTagsForResource":               s.listTags,
	}
}

// Do answers an action. Its errors are [*wire.Error], or of the emulator itself.
func (s *Service) Do(ctx context.Context, action, id string, query *wire.Params, body []byte) (any, error) {
	handle, ok := s.actions()[action]
	if !ok {
		return nil, &wire.Error{Code: "UnknownOperationException", Message: "There is no such operation.", Status: http.StatusNotFound}
	}
	var r request
	if len(body) > 0 {
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, bad("The request body cannot be read: %v", err)
		}
	}
	r.becomes = store.Available
	if ec2.FailsLater(ctx) {
		r.becomes = store.Error
	}
	answer, err := handle(id, query, r)
	if err == nil {
		err = query.Err()
	}
	s.Life.Settle(ctx) // where things take no time they are done when the call is
	return answer, err
}

// bad is EFS's answer to a request that is wrong.
func bad(format string, args ...any) *wire.Error { return wire.Errorf("BadRequest", format, args...) }

// refused is an error with EFS's status for its code.
// https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html#API_CreateMountTarget_Errors and its like
func refused(code, format string, args ...any) *wire.Error {
	e := wire.Errorf(code, format, args...)
	switch code {
	case "FileSystemNotFound", "MountTargetNotFound", "AccessPointNotFound", "PolicyNotFound":
		e.Status = http.StatusNotFound
	case "FileSystemLimitExceeded", "AccessPointLimitExceeded":
		e.Status = http.StatusForbidden
	case "TooManyRequests":
		e.Status = http.StatusTooManyRequests
	case "SubnetNotFound", "SecurityGroupNotFound", "SecurityGroupLimitExceeded", "AvailabilityZonesMismatch", "UnsupportedAvailabilityZone":
	default:
		e.Status = http.StatusConflict
	}
	return e
}

// page cuts one page out of a list that is sorted by id.
func page[T any](query *wire.Params, size, token string, most int, all []T, id func(T) string) (list []T, next string, err error) {
	limit := query.Int(size)
	if limit < 0 || query.Has(size) && limit == 0 {
		return nil, "", bad("%s must be at least 1", size)
	}
	if limit == 0 || limit > most {
		limit = most
	}
	after := ""
	if t := query.String(token); t != "" {
		data, decodeErr := base64.RawURLEncoding.DecodeString(t)
		text, ok := strings.CutPrefix(string(data), "after:")
		if decodeErr != nil || !ok {
			return nil, "", bad("Invalid %s", token)
		}
		after = text
	}
	list = []T{}
	for _, v := range all {
		if id(v) <= after {
			continue
		}
		if len(list) == limit {
			return list, base64.RawURLEncoding.EncodeToString([]byte("after:" + id(list[limit-1]))), nil
		}
		list = append(list, v)
	}
	return list, "", nil
}
