package efs

import (
	"strings"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

type accessPoint struct {
	AccessPointID  string `json:"AccessPointId"`
	AccessPointArn string
	ClientToken    string
	FileSystemID   string `json:"FileSystemId"`
	LifeCycleState string
	Name           string           `json:",omitempty"`
	OwnerID        string           `json:"OwnerId"`
	PosixUser      *store.PosixUser `json:",omitempty"`
	RootDirectory  store.RootDirectory
	Tags           []tag
}

func (s *Service) describePoint(a *store.AccessPoint) accessPoint {
	return accessPoint{
		AccessPointID: a.ID, AccessPointArn: s.arn("access-point", a.ID), ClientToken: a.Token, FileSystemID: a.FileSystem,
		LifeCycleState: a.State, Name: a.Tags["Name"], OwnerID: s.Account, PosixUser: a.User, RootDirectory: a.Root, Tags: tagList(a.Tags),
	}
}

func (s *Service) createAccessPoint(_ string, _ *wire.Params, r request) (any, error) {
	if r.ClientToken == "" || len(r.ClientToken) > maxToken {
		return nil, bad("ClientToken must have 1 to %d characters", maxToken)
	}
	tags, err := readTags(r.Tags)
	if err != nil {
		return nil, err
	}
	a := &store.AccessPoint{
		FileSystem: r.FileSystemID, Token: r.ClientToken, State: store.Creating, User: r.PosixUser, Root: store.RootDirectory{Path: "/"}, Tags: tags,
	}
	if r.RootDirectory != nil {
		a.Root = *r.RootDirectory
	}
	if a.Root.Path == "" || a.Root.Path[0] != '/' || len(a.Root.Path) > 100 || strings.Count(a.Root.Path, "/") > 4 {
		return nil, bad("RootDirectory.Path '%s' is not absolute, has more than 100 characters or more than 4 parts", a.Root.Path)
	}
	var answer accessPoint
	err = s.Store.Update(func() error {
		f, ok := s.Store.FileSystems.Get(r.FileSystemID)
		switch {
		case !ok:
			return noFileSystem(r.FileSystemID)
		case f.State != store.Available:
			return wrongState(f)
		}
		count := 0
		for _, other := range s.Store.AccessPoints.All(store.Truth) {
			if other.Token == r.ClientToken {
				e := refused("AccessPointAlreadyExists", "An access point already exists with client token '%s'", r.ClientToken)
				e.Fields = map[string]string{"AccessPointId": other.ID}
				return e
			}
			if other.FileSystem == f.ID {
				count++
			}
		}
		if count >= maxAccessPoints {
			return refused("AccessPointLimitExceeded", "The file system has reached its limit of %d access points", maxAccessPoints)
		}
		a.ID = s.Store.NewID("fsap")
		a.Change = s.Life.After(s.Life.Times().AccessPoint, store.Available, "create", a.ID)
		s.Store.AccessPoints.Put(a)
		answer = s.describePoint(a)
		return nil
	})
	return answer, err
}

func (s *Service) describeAccessPoints(_ string, query *wire.Params, _ request) (any, error) {
	fs, id := query.String("FileSystemId"), query.String("AccessPointId")
	var all []accessPoint
	known := true
	s.Store.Read(func() {
		if fs != "" {
			_, known = s.Store.FileSystems.Seen(view, fs)
		}
		for _, a := range s.Store.AccessPoints.All(view) {
			if (fs == "" || a.FileSystem == fs) && (id == "" || a.ID == id) {
				all = append(all, s.describePoint(a))
			}
		}
	})
	switch {
	case fs != "" && id != "":
		return nil, bad("FileSystemId and AccessPointId exclude each other")
	case !known:
		return nil, noFileSystem(fs)
	case id != "" && len(all) == 0:
		return nil, noAccessPoint(id)
	}
	list, next, err := page(query, "MaxResults", "NextToken", 100, all, func(a accessPoint) string { return a.AccessPointID })
	return struct {
		AccessPoints []accessPoint
		NextToken    string `json:",omitempty"`
	}{list, next}, err
}

func noAccessPoint(id string) error {
	return refused("AccessPointNotFound", "Access point '%s' does not exist.", id)
}

func (s *Service) deleteAccessPoint(id string, _ *wire.Params, _ request) (any, error) {
	return nil, s.Store.Update(func() error {
		a, ok := s.Store.AccessPoints.Edit(id)
		if !ok {
			return noAccessPoint(id)
		}
		if a.State != store.Deleting {
			a.State, a.Change = store.Deleting, s.Life.After(s.Life.Times().AccessPoint, store.Gone, "delete", id)
		}
		return nil
	})
}
