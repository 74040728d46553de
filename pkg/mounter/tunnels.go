package mounter

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Ports are from where tunnels begin: below those that Linux gives to outgoing connections, beside those of efs-utils.
const (
	firstPort = 21050
	lastPort  = 22073
)

// Tunnels are the TLS tunnels of this machine: one for each file system, held by those who use it. Each lives for itself.
type Tunnels struct {
	dir    string
	tls    *tls.Config
	ctx    context.Context //nolint:containedctx // of the goroutines that tunnels run in, not of a call
	mu     sync.Mutex      // guards all below, and the folder
	active map[string]*tunnel
}

// OpenTunnels brings back the tunnels that are noted in a folder, on their ports. It makes the folder, for the owner only.
// config says whom to trust. The caller must call Close.
func OpenTunnels(ctx context.Context, dir string, config *tls.Config) (*Tunnels, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	t := &Tunnels{dir: dir, tls: config, ctx: ctx, active: map[string]*tunnel{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		var r record
		if err := json.Unmarshal(text, &r); err != nil || filepath.Base(file) != r.FileSystem+".json" {
			return nil, errors.Join(fmt.Errorf("%s is damaged (%w); remove it, and stage its volumes again", file, err), t.Close())
		}
		t.add(&tunnel{record: r, tls: config})
	}
	return t, nil
}

func (t *Tunnels) add(one *tunnel) {
	t.active[one.FileSystem] = one
	one.start(t.ctx)
}

// Len is how many tunnels there are.
func (t *Tunnels) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.active)
}

// Close ends all tunnels; what is noted stays.
func (t *Tunnels) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.active {
		one.stop()
	}
	clear(t.active)
	return nil
}

// maxServerName is the longest name in DNS, in bytes.
const maxServerName = 253

var (
	fileSystemID = regexp.MustCompile(`^fs-[0-9a-f]{8,40}$`)
	serverName   = regexp.MustCompile(`^[a-z0-9][-a-z0-9.]*$`) // of at most maxServerName bytes
)

// Open returns the port of the file system's tunnel and notes the holder. The address may change while the tunnel lives:
// new connections go to the new one. A new tunnel, a new address, and one that failed the last time have been tried when
// Open returns.
//
// Kinds: Unavailable (the mount target does not answer), Denied (it does not prove who it is), Limit (ports), Invalid.
func (t *Tunnels) Open(ctx context.Context, to volume.Tunnel, holder string) (uint16, error) {
	if !fileSystemID.MatchString(to.FileSystem) || len(to.ServerName) > maxServerName || !serverName.MatchString(to.ServerName) || to.Address == "" || to.Port == 0 || holder == "" {
		return 0, fault.New(fault.Invalid, "open tunnel", to.FileSystem, "a tunnel has a file system fs-…, address, port, server name and holder")
	}
	if !t.works(to) {
		conn, err := dial(ctx, to, t.tls)
		if err != nil {
			return 0, err
		}
		_ = conn.Close() // that it could be made is what matters
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	one, err := t.noted(ctx, to, holder)
	if err != nil {
		return 0, err
	}
	return one.Local, nil
}

// works reports whether there is such a tunnel already, and the mount target did not refuse its last connection.
func (t *Tunnels) works(to volume.Tunnel) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	one, ok := t.active[to.FileSystem]
	return ok && one.Tunnel == to && one.failure() == nil
}

// Failure is why the file system's mount target was not reached through its tunnel the last time; nil if it was, or if there
// is no tunnel. It has the kinds of Open.
func (t *Tunnels) Failure(fileSystem string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one, ok := t.active[fileSystem]; ok {
		return one.failure()
	}
	return nil
}

// noted returns the tunnel, as it is noted then: the old one if it leads there, or a new one.
func (t *Tunnels) noted(ctx context.Context, to volume.Tunnel, holder string) (*tunnel, error) {
	r, next := record{Tunnel: to}, &tunnel{tls: t.tls}
	old, exists := t.active[to.FileSystem]
	if exists {
		r.Local, r.Holders = old.Local, slices.Clone(old.Holders)
	} else {
		var err error
		if next.listener, err = t.free(ctx); err != nil {
			return nil, err
		}
		r.Local = portOf(next.listener)
	}
	if !slices.Contains(r.Holders, holder) {
		r.Holders = append(r.Holders, holder)
	}
	if err := t.note(r); err != nil {
		if next.listener != nil {
			err = errors.Join(err, next.listener.Close())
		}
		return nil, err
	}
	if exists && old.Tunnel == to {
		old.tried(nil)
		old.Holders = r.Holders
		return old, nil
	}
	if exists {
		old.stop()
	}
	next.record = r
	t.add(next)
	return next, nil
}

// free takes a port that is free, and that no tunnel waits for.
func (t *Tunnels) free(ctx context.Context) (net.Listener, error) {
	taken := map[uint16]bool{}
	for _, one := range t.active {
		taken[one.Local] = true
	}
	for port := uint16(firstPort); port <= lastPort; port++ {
		if taken[port] {
			continue
		}
		if l, err := listen(ctx, port); err == nil {
			return l, nil
		}
	}
	return nil, fault.New(fault.Limit, "open tunnel", "", "no port from %d to %d is free on 127.0.0.1", firstPort, lastPort)
}

func portOf(l net.Listener) uint16 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return uint16(a.Port)
	}
	return 0
}

// Release takes a holder away, and the tunnel with its last one. What is not there is no error.
func (t *Tunnels) Release(fileSystem, holder string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	one, ok := t.active[fileSystem]
	if !ok || !slices.Contains(one.Holders, holder) {
		return nil
	}
	r := one.record
	r.Holders = slices.DeleteFunc(slices.Clone(r.Holders), func(h string) bool { return h == holder })
	if len(r.Holders) > 0 {
		one.Holders = r.Holders
		return t.note(r)
	}
	one.stop()
	delete(t.active, fileSystem)
	err := os.Remove(t.file(fileSystem))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (t *Tunnels) file(fileSystem string) string { return filepath.Join(t.dir, fileSystem+".json") }

// note writes a tunnel down, whole or not at all.
func (t *Tunnels) note(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := t.file(r.FileSystem) + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, t.file(r.FileSystem))
}
