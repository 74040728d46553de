package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/machine/inside"
	"github.com/diskbridge/diskbridge/pkg/emulator/storage"
)

// fileServers are the kernel's NFS servers behind the addresses of mount targets: one for each file system, with a network,
// a name and a folder of its own.
type fileServers struct {
	dir     string
	mu      sync.Mutex
	running map[string]*fileServer
}

var _ storage.FileServer = (*fileServers)(nil)

// fileServer is the server of one file system.
type fileServer struct {
	mu        sync.Mutex
	server    *inside.Server // nil without addresses
	addresses []string
}

// newFileServers keeps the files below a folder. It is an error where no kernel could serve them.
func newFileServers(dir string) (*fileServers, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("serving NFS needs root")
	}
	for _, program := range []string{"rpc.nfsd", "rpc.mountd", "exportfs", "nfsdcld", "ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w; install nfs-kernel-server, iproute2 and util-linux", err)
		}
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(known), "\tnfsd\n") {
		return nil, errors.New("this kernel has no NFS server: load its module (modprobe nfsd), or use User Mode Linux as make test-nfs does")
	}
	return &fileServers{dir: dir, running: map[string]*fileServer{}}, nil
}

// of finds the server of a file system, locked.
func (s *fileServers) of(fileSystem string) *fileServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[fileSystem] == nil {
		s.running[fileSystem] = &fileServer{}
	}
	f := s.running[fileSystem]
	f.mu.Lock()
	return f
}

// Serve implements [storage.FileServer].
func (s *fileServers) Serve(ctx context.Context, fileSystem, ip string) (err error) {
	f := s.of(fileSystem)
	defer f.mu.Unlock()
	switch {
	case slices.Contains(f.addresses, ip):
		return nil
	case f.server != nil:
		err = f.server.Add(ctx, ip)
	default:
		dir := filepath.Join(s.dir, fileSystem)
		if err = os.MkdirAll(dir, 0o755); err == nil { //nolint:gosec // as EFS makes the root of a file system
			f.server, err = inside.StartServer(ctx, fileSystem, dir, ip)
		}
	}
	if err == nil {
		f.addresses = append(f.addresses, ip)
	}
	return err
}

// Stop implements [storage.FileServer].
func (s *fileServers) Stop(ctx context.Context, fileSystem, ip string) error {
	f := s.of(fileSystem)
	defer f.mu.Unlock()
	i := slices.Index(f.addresses, ip)
	if i < 0 {
		return nil
	}
	if len(f.addresses) == 1 {
		return f.end()
	}
	if err := f.server.Drop(ctx, ip); err != nil {
		return err
	}
	f.addresses = slices.Delete(f.addresses, i, i+1)
	return nil
}

func (f *fileServer) end() error {
	if f.server == nil {
		return nil
	}
	server := f.server
	f.server, f.addresses = nil, nil
	return server.Close()
}

// Remove implements [storage.FileServer].
func (s *fileServers) Remove(_ context.Context, fileSystem string) error {
	f := s.of(fileSystem)
	defer f.mu.Unlock()
	return errors.Join(f.end(), os.RemoveAll(filepath.Join(s.dir, fileSystem)))
}

// Close implements [storage.FileServer].
func (s *fileServers) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.running {
		f.mu.Lock()
		errs = append(errs, f.end())
		f.mu.Unlock()
	}
	return errors.Join(errs...)
}
