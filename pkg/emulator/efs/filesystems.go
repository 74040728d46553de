package efs

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// EFS's quotas: https://docs.aws.amazon.com/efs/latest/ug/limits.html
const (
	maxFileSystems    = 1000 // in a region
	maxMountTargets   = 400  // in a VPC
	maxAccessPoints   = 10000
	maxSecurityGroups = 5
	maxMiBs           = 3414 // provisioned
	maxToken          = 64
)

// slowdown is how long throughput must not fall again, nor its mode change.
const slowdown = 24 * time.Hour

// emptyBytes is the metered size of a file system in which nothing was written.
const emptyBytes = 6144

type fileSystem struct {
	CreationTime                 float64
	CreationToken                string
	FileSystemID                 string `json:"FileSystemId"`
	FileSystemArn                string
	LifeCycleState               string
	Name                         string `json:",omitempty"`
	NumberOfMountTargets         int
	OwnerID                      string `json:"OwnerId"`
	PerformanceMode              string
	ThroughputMode               string
	ProvisionedThroughputInMibps float64 `json:",omitempty"`
	Encrypted                    bool
	KmsKeyID                     string `json:"KmsKeyId,omitempty"`
	AvailabilityZoneName         string `json:",omitempty"`
	AvailabilityZoneID           string `json:"AvailabilityZoneId,omitempty"`
	SizeInBytes                  size
	Tags                         []tag
}

type size struct {
	Value                                      int64
	Timestamp                                  float64
	ValueInStandard, ValueInIA, ValueInArchive int64
}

// describe must be called inside Read or Update.
func (s *Service) describe(f *store.FileSystem) fileSystem {
	targets := 0
	for _, m := range s.Store.MountTargets.All(view) {
		if m.FileSystem == f.ID {
			targets++
		}
	}
	return fileSystem{
		CreationTime: seconds(f.Created), CreationToken: f.Token, FileSystemID: f.ID, FileSystemArn: s.arn("file-system", f.ID),
		LifeCycleState: f.State, Name: f.Tags["Name"], NumberOfMountTargets: targets, OwnerID: s.Account,
		PerformanceMode: f.PerformanceMode, ThroughputMode: f.ThroughputMode, ProvisionedThroughputInMibps: f.ProvisionedMiBs,
		Encrypted: f.Encrypted, KmsKeyID: f.KMSKey, AvailabilityZoneName: f.Zone, AvailabilityZoneID: s.zoneID(f.Zone),
		SizeInBytes: size{Value: emptyBytes, ValueInStandard: emptyBytes, Timestamp: seconds(f.Created)}, Tags: tagList(f.Tags),
	}
}

func (s *Service) createFileSystem(_ string, _ *wire.Params, r request) (any, error) {
	if r.CreationToken == "" || len(r.CreationToken) > maxToken {
		return nil, bad("CreationToken must have 1 to %d characters", maxToken)
	}
	tags, err := readTags(r.Tags)
	if err != nil {
		return nil, err
	}
	f := &store.FileSystem{
		Token: r.CreationToken, State: store.Creating, Created: s.Clock.Now(), PerformanceMode: r.PerformanceMode,
		ThroughputMode: r.ThroughputMode, ProvisionedMiBs: r.ProvisionedThroughputInMibps, Encrypted: r.Encrypted,
		Zone: r.AvailabilityZoneName, Tags: tags,
	}
	if f.PerformanceMode == "" {
		f.PerformanceMode = "generalPurpose"
	}
	if f.ThroughputMode == "" {
		f.ThroughputMode = "bursting"
	}
	if r.Backup != nil && *r.Backup || r.Backup == nil && f.Zone != "" {
		f.Backup = "ENABLED"
	}
	var answer fileSystem
	err = s.Store.Update(func() error {
		if other, ok := s.byToken(r.CreationToken); ok {
			e := refused("FileSystemAlreadyExists", "File system '%s' already exists with creation token '%s'", other.ID, r.CreationToken)
			e.Fields = map[string]string{"FileSystemId": other.ID}
			return e
		}
		if err := s.checkNew(f, r.KmsKeyID); err != nil {
			return err
		}
		f.ID = s.Store.NewID("fs")
		f.Change = s.Life.After(s.Life.Times().FileSystem, r.becomes, "create", f.ID)
		s.Store.FileSystems.Put(f)
		answer = s.describe(f)
		return nil
	})
	return answer, err
}

// byToken is the file system with a creation token; one that is gone frees it.
func (s *Service) byToken(token string) (*store.FileSystem, bool) {
	for _, f := range s.Store.FileSystems.All(store.Truth) {
		if f.Token == token {
			return f, true
		}
	}
	return nil, false
}

// checkNew checks a new file system against EFS's rules and fills in its key.
func (s *Service) checkNew(f *store.FileSystem, key string) error {
	switch {
	case len(s.Store.FileSystems.All(store.Truth)) >= maxFileSystems:
		return refused("FileSystemLimitExceeded", "The account has reached its limit of %d file systems in this region", maxFileSystems)
	case f.Zone != "" && !slices.Contains(s.Zones, f.Zone):
		return refused("UnsupportedAvailabilityZone", "The requested Availability Zone %s is not supported", f.Zone)
	case f.PerformanceMode != "generalPurpose" && f.PerformanceMode != "maxIO":
		return bad("'%s' is not a performance mode", f.PerformanceMode)
	case f.PerformanceMode == "maxIO" && (f.ThroughputMode == "elastic" || f.Zone != ""):
		return bad("Performance mode maxIO is supported neither with elastic throughput nor by One Zone file systems")
	case key != "" && !f.Encrypted:
		return bad("KmsKeyId needs Encrypted to be true")
	}
	if err := checkThroughput(f.ThroughputMode, f.ProvisionedMiBs); err != nil || !f.Encrypted {
		return err
	}
	if key == "" {
		f.KMSKey = "arn:aws:kms:" + s.Region + ":" + s.Account + ":key/aws-elasticfilesystem"
		return nil
	}
	k, ok := s.Store.FindKey(key)
	switch {
	case !ok:
		return bad("The KMS key '%s' does not exist", key)
	case k.Denied:
		return &wire.Error{Code: "AccessDeniedException", Status: http.StatusForbidden,
			Message: "User is not authorized to perform: kms:GenerateDataKeyWithoutPlaintext on resource: " + k.ARN}
	case k.State != "Enabled":
		return bad("The KMS key '%s' is in state %s", k.ARN, k.State)
	}
	f.KMSKey = k.ARN
	return nil
}

func checkThroughput(mode string, mibs float64) error {
	switch {
	case mode != "bursting" && mode != "provisioned" && mode != "elastic":
		return bad("'%s' is not a throughput mode", mode)
	case mode == "provisioned" && mibs < 1:
		return bad("ProvisionedThroughputInMibps is required for throughput mode provisioned and is at least 1")
	case mode != "provisioned" && mibs != 0:
		return bad("ProvisionedThroughputInMibps is only for throughput mode provisioned")
	case mibs > maxMiBs:
		return bad("ProvisionedThroughputInMibps is at most %d", maxMiBs)
	}
	return nil
}

func (s *Service) describeFileSystems(_ string, query *wire.Params, _ request) (any, error) {
	id, token := query.String("FileSystemId"), query.String("CreationToken")
	var all []fileSystem
	s.Store.Read(func() {
		for _, f := range s.Store.FileSystems.All(view) {
			if (id == "" || id == f.ID) && (token == "" || token == f.Token) {
				all = append(all, s.describe(f))
			}
		}
	})
	switch {
	case id != "" && token != "":
		return nil, bad("FileSystemId and CreationToken exclude each other")
	case id != "" && !strings.HasPrefix(id, "fs-"):
		return nil, bad("invalid file system ID: %s", id)
	case id != "" && len(all) == 0:
		return nil, noFileSystem(id)
	}
	list, next, err := page(query, "MaxItems", "Marker", 100, all, func(f fileSystem) string { return f.FileSystemID })
	return struct {
		FileSystems []fileSystem
		NextMarker  string `json:",omitempty"`
	}{list, next}, err
}

func noFileSystem(id string) error {
	return refused("FileSystemNotFound", "File system '%s' does not exist.", id)
}

// change edits a file system that is available within an update.
func (s *Service) change(id string, edit func(*store.FileSystem) error) error {
	return s.Store.Update(func() error {
		f, ok := s.Store.FileSystems.Get(id)
		switch {
		case !ok:
			return noFileSystem(id)
		case f.State != store.Available:
			return wrongState(f)
		}
		f, _ = s.Store.FileSystems.Edit(id)
		return edit(f)
	})
}

func wrongState(f *store.FileSystem) error {
	return refused("IncorrectFileSystemLifeCycleState", "The file system '%s' is in state '%s'", f.ID, f.State)
}

func (s *Service) updateFileSystem(id string, _ *wire.Params, r request) (any, error) {
	var answer fileSystem
	err := s.change(id, func(f *store.FileSystem) error {
		mode, mibs := r.ThroughputMode, r.ProvisionedThroughputInMibps
		if mode == "" {
			mode = f.ThroughputMode
		}
		if mode == "provisioned" && mibs == 0 {
			mibs = f.ProvisionedMiBs
		}
		if err := checkThroughput(mode, mibs); err != nil {
			return err
		}
		if mode == "elastic" && f.PerformanceMode == "maxIO" {
			return bad("Elastic throughput is not supported with performance mode maxIO")
		}
		slower := mode != f.ThroughputMode || mibs < f.ProvisionedMiBs
		if slower && !f.ThroughputSlowed.IsZero() && s.Clock.Now().Sub(f.ThroughputSlowed) < slowdown {
			return refused("TooManyRequests", "You must wait 24 hours after decreasing the provisioned throughput or changing the throughput mode")
		}
		if slower {
			f.ThroughputSlowed = s.Clock.Now()
		}
		f.ThroughputMode, f.ProvisionedMiBs, f.State = mode, mibs, store.Updating
		f.Change = s.Life.After(s.Life.Times().FileSystem, store.Available, "update", id)
		answer = s.describe(f)
		return nil
	})
	return answer, err
}

func (s *Service) deleteFileSystem(id string, _ *wire.Params, _ request) (any, error) {
	return nil, s.Store.Update(func() error {
		f, ok := s.Store.FileSystems.Get(id)
		if !ok {
			return noFileSystem(id)
		}
		for _, m := range s.Store.MountTargets.All(store.Truth) {
			if m.FileSystem == id {
				return refused("FileSystemInUse", "The file system '%s' has mount targets and cannot be deleted", id)
			}
		}
		if f.State == store.Deleting {
			return nil
		}
		f, _ = s.Store.FileSystems.Edit(id)
		f.State, f.Change = store.Deleting, s.Life.After(s.Life.Times().FileSystem, store.Gone, "delete", id)
		return nil
	})
}

func (s *Service) putLifecycle(id string, _ *wire.Params, r request) (any, error) {
	for _, p := range r.LifecyclePolicies {
		set := slices.DeleteFunc([]string{p.IA, p.Primary, p.Archive}, func(v string) bool { return v == "" })
		if len(set) != 1 {
			return nil, bad("Each lifecycle policy has exactly one transition")
		}
	}
	err := s.change(id, func(f *store.FileSystem) error { f.Lifecycle = r.LifecyclePolicies; return nil })
	return lifecycleAnswer{r.LifecyclePolicies}, err
}

type lifecycleAnswer struct{ LifecyclePolicies []store.Transition }

func (s *Service) describeLifecycle(id string, _ *wire.Params, _ request) (any, error) {
	f, err := s.seen(id)
	if err != nil {
		return nil, err
	}
	return lifecycleAnswer{append([]store.Transition{}, f.Lifecycle...)}, nil
}

type backupAnswer struct{ BackupPolicy struct{ Status string } }

func (s *Service) putBackup(id string, _ *wire.Params, r request) (any, error) {
	if r.BackupPolicy.Status != "ENABLED" && r.BackupPolicy.Status != "DISABLED" {
		return nil, bad("'%s' is not a backup policy's status", r.BackupPolicy.Status)
	}
	err := s.change(id, func(f *store.FileSystem) error { f.Backup = r.BackupPolicy.Status; return nil })
	return backupAnswer{r.BackupPolicy}, err
}

func (s *Service) describeBackup(id string, _ *wire.Params, _ request) (any, error) {
	f, err := s.seen(id)
	switch {
	case err != nil:
		return nil, err
	case f.Backup == "":
		return nil, refused("PolicyNotFound", "The file system '%s' has no backup policy", id)
	}
	answer := backupAnswer{}
	answer.BackupPolicy.Status = f.Backup
	return answer, nil
}

// seen is a file system as reads show it.
func (s *Service) seen(id string) (f *store.FileSystem, err error) {
	var ok bool
	s.Store.Read(func() { f, ok = s.Store.FileSystems.Seen(view, id) })
	if !ok {
		return nil, noFileSystem(id)
	}
	return f, nil
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *Service) arn(kind, id string) string {
	return "arn:aws:elasticfilesystem:" + s.Region + ":" + s.Account + ":" + kind + "/" + id
}
