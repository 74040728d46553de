package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"
)

// View is a group of API calls that share a copy of the state; each view lags by itself.
// Truth is the state itself.
type View string

// Truth is the view that never lags.
const Truth View = ""

// Due is a record that wants to change by itself at a time.
type Due struct {
	Kind, ID string
	At       time.Time
}

// The kinds of a [Due].
const (
	Volumes        = "volumes"
	Snapshots      = "snapshots"
	Instances      = "instances"
	Keys           = "keys"
	FileSystems    = "file-systems"
	MountTargets   = "mount-targets"
	AccessPoints   = "access-points"
	Subnets        = "subnets"
	SecurityGroups = "security-groups"
	Buckets        = "buckets"
)

// Options say how a store keeps and shows its records.
type Options struct {
	Dir    string           // where the journal is; empty keeps nothing
	Now    func() time.Time // the emulator's time
	Window time.Duration    // how long a view may lag at most; 0 is strongly consistent
	Seed   int64            // fixes lags, ids and durations
}

// Store is the state. Use its tables only inside [Store.Read] and [Store.Update].
type Store struct {
	Volumes        *Table[*Volume]
	Snapshots      *Table[*Snapshot]
	Instances      *Table[*Instance]
	Keys           *Table[*Key]
	FileSystems    *Table[*FileSystem]
	MountTargets   *Table[*MountTarget]
	AccessPoints   *Table[*AccessPoint]
	Subnets        *Table[*Subnet]
	SecurityGroups *Table[*SecurityGroup]
	Buckets        *Table[*Bucket]

	tables []table // all of them, what others refer to first

	mu     sync.Mutex
	disk   *disk
	now    func() time.Time
	window time.Duration
	seed   int64
	boot   boot
	ids    uint64
	due    []Due // earliest first
	wake   chan struct{}
	graves []grave
	tokens map[string]string // client token to volume

	watches []*Watch
}

// boot makes ids of two runs on one folder differ.
type boot struct {
	Number uint64
	Now    time.Time // when this run began
}

type grave struct {
	at   time.Time
	bury func()
}

// Open reads the state from its folder, or makes an empty one. Nobody else may use the folder until [Store.Close].
func Open(o Options) (*Store, error) {
	d, err := openDisk(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	s := &Store{disk: d, now: o.Now, window: o.Window, seed: o.Seed, wake: make(chan struct{}, 1), tokens: map[string]string{}}
	s.Keys = newTable[*Key](s, Keys)
	s.Subnets = newTable[*Subnet](s, Subnets)
	s.SecurityGroups = newTable[*SecurityGroup](s, SecurityGroups)
	s.Instances = newTable[*Instance](s, Instances)
	s.Snapshots = newTable[*Snapshot](s, Snapshots)
	s.Volumes = newTable[*Volume](s, Volumes)
	s.FileSystems = newTable[*FileSystem](s, FileSystems)
	s.MountTargets = newTable[*MountTarget](s, MountTargets)
	s.AccessPoints = newTable[*AccessPoint](s, AccessPoints)
	s.Buckets = newTable[*Bucket](s, Buckets)
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open state: %w", err), d.close())
	}
	return s, nil
}

func (s *Store) load() error {
	for _, t := range s.tables {
		if err := t.load(); err != nil {
			return err
		}
	}
	if err := readAll(s.disk, "boot", func(b boot) { s.boot = b }); err != nil {
		return err
	}
	for _, v := range s.Volumes.All(Truth) {
		s.noteToken(v)
	}
	s.boot.Number++
	return s.saveClock()
}

// Close notes the time and lets others use the folder.
func (s *Store) Close() error { return errors.Join(s.SaveClock(), s.disk.close()) }

// Started is the latest time that an earlier run on this folder is known to have seen; zero if there was none.
func (s *Store) Started() time.Time { return s.boot.Now }

// SaveClock notes the time, so that a later run does not begin before it.
func (s *Store) SaveClock() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot.Now = s.now()
	return s.saveClock()
}

func (s *Store) saveClock() error {
	e, err := newEntry("boot", "boot", s.boot)
	if err != nil {
		return err
	}
	return s.disk.write([]entry{e})
}

// Read runs fn while nothing changes. Records that it takes out stay valid and must not be changed.
func (s *Store) Read(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// Update runs fn, then writes what it changed to the disk and makes it visible, all or nothing:
// after an error, of fn or of the disk, the state is as before.
func (s *Store) Update(fn func() error) error { return s.update(s.now, fn) }

// Found is Update for what is older than the emulator: every view shows it at once.
func (s *Store) Found(fn func() error) error {
	return s.update(func() time.Time { return time.Time{} }, fn)
}

func (s *Store) update(at func() time.Time, fn func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := fn()
	if err == nil {
		err = s.save()
	}
	if err != nil {
		for _, t := range s.tables {
			t.discard()
		}
		return err
	}
	now := at()
	for _, v := range s.Volumes.dirty {
		s.noteToken(v)
	}
	for _, t := range s.tables {
		t.commit(now)
	}
	for len(s.graves) > 0 && !s.graves[0].at.After(now) {
		s.graves[0].bury()
		s.graves = s.graves[1:]
	}
	return nil
}

// save writes what the running update changed; on an error the update must be discarded.
func (s *Store) save() error {
	var update []entry
	for _, t := range s.tables {
		changed, err := t.changed()
		if err != nil {
			return fmt.Errorf("save state: %w", err)
		}
		update = append(update, changed...)
	}
	if err := s.disk.write(update); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// visible says whether the view shows a version that was made at that time.
// A view's lag is one for all versions of a record, so that it shows them in their order.
func (s *Store) visible(view View, id string, at time.Time) bool {
	if view == Truth || s.window == 0 || at.IsZero() {
		return true
	}
	age := s.now().Sub(at)
	return age >= s.window || age >= time.Duration(s.Fraction("lag of "+string(view), id)*float64(s.window))
}

// Fraction is a number in [0, 1) that the seed and the arguments fix.
func (s *Store) Fraction(what, id string) float64 {
	return float64(s.hash(what, id, 0)>>11) / (1 << 53)
}

func (s *Store) hash(what, id string, n uint64) uint64 {
	h := fnv.New64a()
	for _, v := range []uint64{uint64(s.seed), n} {
		_ = binary.Write(h, binary.LittleEndian, v)
	}
	_, _ = h.Write([]byte(what + "\x00" + id))
	x := h.Sum64() // FNV alone leaves neighbours close together
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// NewID is a fresh id such as vol-0123456789abcdef0. Call it inside Read or Update.
func (s *Store) NewID(prefix string) string {
	s.ids++
	high, low := s.hash(prefix, "high", s.boot.Number<<32|s.ids), s.hash(prefix, "low", s.boot.Number<<32|s.ids)
	return fmt.Sprintf("%s-0%08x%08x", prefix, uint32(high), uint32(low))
}

// TakeDue removes and returns what is due by now.
func (s *Store) TakeDue() (due []Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	n := 0
	for n < len(s.due) && !s.due[n].At.After(now) {
		n++
	}
	due, s.due = s.due[:n:n], s.due[n:]
	return due
}

// NextDue is when the next change is due; zero if none is.
func (s *Store) NextDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return time.Time{}
	}
	return s.due[0].At
}

// PutDue makes [Store.TakeDue] return d at its time.
func (s *Store) PutDue(d Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(d)
}

// Wake is readable when a new earliest time may be due.
func (s *Store) Wake() <-chan struct{} { return s.wake }

func (s *Store) push(d Due) {
	i, _ := slices.BinarySearchFunc(s.due, d, func(a, b Due) int { return a.At.Compare(b.At) })
	s.due = slices.Insert(s.due, i, d)
	if i == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// VolumeByToken is the volume that was created last with that token. Call it inside Read or Update.
func (s *Store) VolumeByToken(token string) (*Volume, bool) {
	v, ok := s.Volumes.Get(s.tokens[token])
	if !ok {
		delete(s.tokens, token)
	}
	return v, ok
}

func (s *Store) noteToken(v *Volume) {
	if v == nil || v.Token == "" {
		return
	}
	if last, ok := s.Volumes.Get(s.tokens[v.Token]); !ok || !v.Created.Before(last.Created) {
		s.tokens[v.Token] = v.ID
	}
}

// FindKey is the key with that id, ARN, alias or alias ARN. Call it inside Read or Update.
func (s *Store) FindKey(name string) (*Key, bool) {
	for _, k := range s.Keys.All(Truth) {
		if name == k.ID || name == k.ARN {
			return k, true
		}
		region, _, _ := strings.Cut(k.ARN, ":key/")
		for _, a := range k.Aliases {
			if name == a || name == region+":"+a {
				return k, true
			}
		}
	}
	return nil, false
}
