package ec2

import (
	"context"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// fastRestoreItem is one snapshot's fast restore in one zone.
type fastRestoreItem struct {
	SnapshotID     string    `xml:"snapshotId"`
	Zone           string    `xml:"availabilityZone"`
	State          string    `xml:"state"`
	Reason         string    `xml:"stateTransitionReason"`
	Owner          string    `xml:"ownerId"`
	EnablingTime   wire.Time `xml:"enablingTime,omitempty"`
	OptimizingTime wire.Time `xml:"optimizingTime,omitempty"`
	EnabledTime    wire.Time `xml:"enabledTime,omitempty"`
	DisablingTime  wire.Time `xml:"disablingTime,omitempty"`
	DisabledTime   wire.Time `xml:"disabledTime,omitempty"`
}

// fastRestoreFailure is a snapshot for which the call could not be done.
type fastRestoreFailure struct {
	SnapshotID string                 `xml:"snapshotId"`
	Errors     []fastRestoreZoneError `xml:"fastSnapshotRestoreStateErrorSet>item"`
}

type fastRestoreZoneError struct {
	Zone    string `xml:"availabilityZone"`
	Code    string `xml:"error>code"`
	Message string `xml:"error>message"`
}

type fastRestoreResult struct {
	Successful   []fastRestoreItem    `xml:"successful>item"`
	Unsuccessful []fastRestoreFailure `xml:"unsuccessful>item"`
}

// fastRestoreState is the state that its times give a fast restore.
func fastRestoreState(f store.FastRestore, now time.Time) string {
	switch {
	case !f.Disabling.IsZero() && !now.Before(f.Disabled):
		return "disabled"
	case !f.Disabling.IsZero():
		return "disabling"
	case !now.Before(f.Enabled):
		return "enabled"
	case !now.Before(f.Optimizing):
		return "optimizing"
	}
	return "enabling"
}

func (s *Service) fastRestoreItem(snapshot, zone string, f store.FastRestore) fastRestoreItem {
	now := s.Clock.Now()
	past := func(t time.Time) wire.Time {
		if t.After(now) {
			return ""
		}
		return wire.NewTime(t)
	}
	return fastRestoreItem{
		SnapshotID: snapshot, Zone: zone, State: fastRestoreState(f, now), Owner: s.Account,
		Reason: "Client.UserInitiated", EnablingTime: past(f.Enabling), OptimizingTime: past(f.Optimizing),
		EnabledTime: past(f.Enabled), DisablingTime: past(f.Disabling), DisabledTime: past(f.Disabled),
	}
}

func (s *Service) enableFastRestores(_ context.Context, p *wire.Params) (any, error) {
	return s.changeFastRestores(p, func(v *store.Snapshot, zone string) error {
		if f, ok := v.FastRestore[zone]; ok && f.Disabling.IsZero() {
			return nil // is or will be enabled
		}
		took := s.Life.After(s.Life.Times().Snapshot, "", "fast restore in "+zone, v.ID).At.Sub(s.Clock.Now())
		now := s.Clock.Now()
		v.FastRestore[zone] = store.FastRestore{Enabling: now, Optimizing: now.Add(took / 2), Enabled: now.Add(took)}
		return nil
	})
}

func (s *Service) disableFastRestores(_ context.Context, p *wire.Params) (any, error) {
	return s.changeFastRestores(p, func(v *store.Snapshot, zone string) error {
		f, ok := v.FastRestore[zone]
		if !ok || !f.Disabling.IsZero() {
			return wire.Errorf("InvalidParameterValue", "Fast snapshot restore is not enabled for snapshot '%s' in zone '%s'.", v.ID, zone)
		}
		f.Disabling = s.Clock.Now()
		f.Disabled = s.Life.After(s.Life.Times().Snapshot, "", "fast restore out of "+zone, v.ID).At
		v.FastRestore[zone] = f
		return nil
	})
}

// changeFastRestores does a change for each snapshot in each zone; what cannot be done is part of the answer.
func (s *Service) changeFastRestores(p *wire.Params, change func(*store.Snapshot, string) error) (any, error) {
	var zones []string
	for _, z := range p.List("AvailabilityZone") {
		zones = append(zones, z)
		if _, err := s.checkZone(z, ""); err != nil {
			return nil, err
		}
	}
	for _, id := range p.List("AvailabilityZoneId") {
		z, err := s.checkZone("", id)
		if err != nil {
			return nil, err
		}
		zones = append(zones, z)
	}
	ids := p.List("SourceSnapshotId")
	if len(zones) == 0 || len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameters availabilityZone and sourceSnapshotId")
	}
	if err := checkSnapshotIDs(ids...); err != nil {
		return nil, err
	}
	var result fastRestoreResult
	err := s.Store.Update(func() error {
		if err := allowed(p); err != nil {
			return err
		}
		for _, id := range ids {
			s.changeFastRestore(id, zones, change, &result)
		}
		return nil
	})
	return result, err
}

func (s *Service) changeFastRestore(id string, zones []string, change func(*store.Snapshot, string) error, result *fastRestoreResult) {
	_, err := s.snapshot(id)
	var v *store.Snapshot
	if err == nil {
		v, _ = s.Store.Snapshots.Edit(id)
		if v.FastRestore == nil {
			v.FastRestore = map[string]store.FastRestore{}
		}
	}
	failure := fastRestoreFailure{SnapshotID: id}
	for _, zone := range zones {
		zoneErr := err
		if zoneErr == nil {
			zoneErr = change(v, zone)
		}
		if zoneErr == nil {
			result.Successful = append(result.Successful, s.fastRestoreItem(id, zone, v.FastRestore[zone]))
			continue
		}
		e := wire.AsError(zoneErr)
		failure.Errors = append(failure.Errors, fastRestoreZoneError{Zone: zone, Code: e.Code, Message: e.Message})
	}
	if len(failure.Errors) > 0 {
		result.Unsuccessful = append(result.Unsuccessful, failure)
	}
}

func (s *Service) describeFastRestores(_ context.Context, p *wire.Params) (any, error) {
	var all []fastRestoreItem
	s.Store.Read(func() {
		for _, v := range s.Store.Snapshots.All(viewSnapshots) {
			for _, zone := range s.Zones {
				if f, ok := v.FastRestore[zone]; ok {
					all = append(all, s.fastRestoreItem(v.ID, zone, f))
				}
			}
		}
	})
	page, next, err := listing[fastRestoreItem]{
		key: func(f fastRestoreItem) string { return f.SnapshotID + f.Zone },
		fields: map[string]func(fastRestoreItem) []string{
			"availability-zone": func(f fastRestoreItem) []string { return one(f.Zone) },
			"owner-id":          func(f fastRestoreItem) []string { return one(f.Owner) },
			"snapshot-id":       func(f fastRestoreItem) []string { return one(f.SnapshotID) },
			"state":             func(f fastRestoreItem) []string { return one(f.State) },
		},
	}.pick(p, all)
	return struct {
		Items []fastRestoreItem `xml:"fastSnapshotRestoreSet>item"`
		Next  string            `xml:"nextToken,omitempty"`
	}{page, next}, err
}

// Limits of a lock: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html
const (
	maxLockDays     = 36500
	maxCoolOffHours = 72
)

type lockItem struct {
	SnapshotID     string    `xml:"snapshotId"`
	State          string    `xml:"lockState"`
	Duration       int       `xml:"lockDuration,omitempty"`
	CoolOffPeriod  int       `xml:"coolOffPeriod,omitempty"`
	CoolOffExpires wire.Time `xml:"coolOffPeriodExpiresOn,omitempty"`
	CreatedOn      wire.Time `xml:"lockCreatedOn"`
	ExpiresOn      wire.Time `xml:"lockExpiresOn"`
	DurationStart  wire.Time `xml:"lockDurationStartTime"`
}

func (s *Service) lockSnapshot(_ context.Context, p *wire.Params) (any, error) {
	id, mode := p.Required("SnapshotId"), p.Required("LockMode")
	days, coolOff, expires := p.Int("LockDuration"), p.Int("CoolOffPeriod"), p.Time("ExpirationDate")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := checkSnapshotIDs(id); err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	if err := checkLock(mode, days, coolOff, expires, now); err != nil {
		return nil, err
	}
	lock := &store.Lock{Mode: mode, Created: now, DurationDays: days, Expires: expires, CoolOff: now.Add(time.Duration(coolOff) * time.Hour)}
	if expires.IsZero() {
		lock.Expires = now.AddDate(0, 0, days)
	}
	err := s.Store.Update(func() error {
		v, err := s.snapshot(id)
		switch {
		case err != nil:
			return err
		case v.Owner != s.Account:
			return wire.Coded("UnauthorizedOperation")
		case v.Lock != nil && s.lockState(v.Lock) == "compliance" && (mode != "compliance" || lock.Expires.Before(v.Lock.Expires)):
			return wire.Errorf("IncorrectState", "The snapshot '%s' is locked in compliance mode: its lock can only be extended.", id)
		}
		if err := allowed(p); err != nil {
			return err
		}
		v, _ = s.Store.Snapshots.Edit(id)
		v.Lock = lock
		return nil
	})
	if err != nil {
		return nil, err
	}
	item := lockItem{
		SnapshotID: id, State: s.lockState(lock), Duration: days, CreatedOn: wire.NewTime(now),
		ExpiresOn: wire.NewTime(lock.Expires), DurationStart: wire.NewTime(now), CoolOffPeriod: coolOff,
	}
	if coolOff > 0 {
		item.CoolOffExpires = wire.NewTime(lock.CoolOff)
	}
	return item, nil
}

func checkLock(mode string, days, coolOff int, expires, now time.Time) error {
	switch {
	case mode != "governance" && mode != "compliance":
		return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter lockMode is invalid. Expected governance or compliance.", mode)
	case (days == 0) == expires.IsZero():
		return wire.Errorf("InvalidParameterCombination", "Specify either lockDuration or expirationDate.")
	case days < 0 || days > maxLockDays:
		return wire.Errorf("InvalidParameterValue", "Value (%d) for parameter lockDuration is invalid. Expected 1 to %d days.", days, maxLockDays)
	case !expires.IsZero() && expires.Before(now.AddDate(0, 0, 1)):
		return wire.Errorf("InvalidParameterValue", "The expiration date must be at least 1 day from now.")
	case coolOff != 0 && mode != "compliance":
		return wire.Errorf("InvalidParameterCombination", "The parameter coolOffPeriod can only be used with lockMode compliance.")
	case coolOff < 0 || coolOff > maxCoolOffHours:
		return wire.Errorf("InvalidParameterValue", "Value (%d) for parameter coolOffPeriod is invalid. Expected 1 to %d hours.", coolOff, maxCoolOffHours)
	}
	return nil
}

func (s *Service) lockState(l *store.Lock) string {
	switch now := s.Clock.Now(); {
	case !now.Before(l.Expires):
		return "expired"
	case l.Mode == "compliance" && now.Before(l.CoolOff):
		return "compliance-cooloff"
	}
	return l.Mode
}
