package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/diskbridge/diskbridge/pkg/emulator/ec2"
	"github.com/diskbridge/diskbridge/pkg/emulator/efs"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
	"github.com/diskbridge/diskbridge/pkg/emulator/kms"
	"github.com/diskbridge/diskbridge/pkg/emulator/lifecycle"
	"github.com/diskbridge/diskbridge/pkg/emulator/s3"
	"github.com/diskbridge/diskbridge/pkg/emulator/store"
	"github.com/diskbridge/diskbridge/pkg/emulator/sts"
	"github.com/diskbridge/diskbridge/pkg/emulator/throttle"
	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// closeWait is how long Close lets calls that are under way end by themselves.
const closeWait = 5 * time.Second

// Server is a running emulator.
type Server struct {
	options    Options
	profile    Profile
	store      *store.Store
	life       *lifecycle.Engine
	ec2        *ec2.Service
	efs        *efs.Service
	kms        *kms.Service
	sts        *sts.Service
	s3         *s3.Service // nil where the options name no server for it
	scratch    string      // objects that do not outlive the server
	signatures *wire.Signatures
	faults     *faults.Set
	buckets    *throttle.Buckets
	counts     *throttle.Counts
	requests   atomic.Uint64
	endpoint   string

	logger klog.Logger
	stop   context.CancelFunc
	group  sync.WaitGroup

	closing chan struct{} // closed when Close begins
	mu      sync.Mutex
	fresh   freshConns
	servers []*http.Server    // all that listen, the main one first
	imds    map[string]string // endpoints by instance
	closed  bool
}

// Start starts an emulator, which runs until [Server.Close]. The context bounds the start and carries the logger.
func Start(ctx context.Context, o Options) (*Server, error) {
	o, profile, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("start emulator: %w", err)
	}
	s := &Server{
		options: o, profile: profile, faults: faults.New(o.Seed), buckets: throttle.NewBuckets(), counts: throttle.NewCounts(),
		logger: klog.FromContext(ctx), imds: map[string]string{}, closing: make(chan struct{}),
	}
	if s.store, err = s.openStore(); err != nil {
		return nil, errors.Join(fmt.Errorf("start emulator: %w", err), o.Storage.Close(), o.Files.Close())
	}
	s.makeServices()
	running, stop := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), s.logger))
	s.stop = stop
	if err := s.run(ctx, running); err != nil {
		return nil, errors.Join(fmt.Errorf("start emulator: %w", err), s.Close()) //nolint:contextcheck // closing must work when the context has ended
	}
	s.logger.Info("This is an emulator, not AWS", "endpoint", s.endpoint, "profile", profile.Name, "stateDir", o.StateDir)
	return s, nil
}

func (s *Server) openStore() (*store.Store, error) {
	dir := s.options.StateDir
	if dir != "" {
		dir = filepath.Join(dir, "state") // beside what the disks keep there
	}
	return store.Open(store.Options{Dir: dir, Now: s.options.Clock.Now, Window: s.profile.Window, Seed: s.options.Seed})
}

// makeServices makes the services over the state.
func (s *Server) makeServices() {
	o := s.options
	s.life = lifecycle.New(s.store, o.Storage, o.Files, o.Clock, s.profile.Times)
	s.signatures = wire.NewSignatures(o.AccessKeyID, o.SecretAccessKey, wire.Identity{
		ARN: "arn:aws:iam::" + o.AccountID + ":user/emulator", UserID: "AIDA00000000000000000",
	})
	s.ec2 = ec2.New(ec2.Config{
		Store: s.store, Life: s.life, Clock: o.Clock, Account: o.AccountID, Region: o.Region, Zones: o.regionZones(),
		NewInstance: func(ctx context.Context, i *store.Instance) error {
			i.State, i.Change = store.Pending, s.life.After(s.profile.Times.Instance, store.Running, "launch", "")
			return s.addInstance(ctx, i)
		},
	})
	s.efs = efs.New(efs.Config{
		Store: s.store, Life: s.life, Clock: o.Clock, Account: o.AccountID, Region: o.Region, Zones: o.regionZones(),
	})
	s.kms = kms.New(kms.Config{Store: s.store, Clock: o.Clock, Account: o.AccountID, Region: o.Region})
	s.sts = sts.New(sts.Config{Signatures: s.signatures, Account: o.AccountID, Now: time.Now, Unique: s.requestID})
}

// run brings the state, instances and devices up, then answers.
func (s *Server) run(ctx, running context.Context) error {
	s.options.Clock.Advance(s.store.Started().Sub(s.options.Clock.Now())) // an earlier run's time was ahead of the machine's
	if err := s.kms.EnsureDefaultKey(); err != nil {
		return err
	}
	if err := s.ensurePublicSnapshots(); err != nil {
		return err
	}
	if err := s.ec2.EnsureNetwork(); err != nil {
		return err
	}
	if err := s.life.Resume(ctx); err != nil {
		return err
	}
	if err := s.ensureInstances(running); err != nil {
		return err
	}
	if err := s.startS3(ctx); err != nil {
		return err
	}
	address, err := s.serve(running, s.options.Listen, http.HandlerFunc(s.handle))
	if err != nil {
		return err
	}
	s.endpoint = "http://" + address
	s.group.Go(func() { s.life.Run(running) })
	return nil
}

// serve listens and answers until Close.
func (s *Server) serve(running context.Context, address string, h http.Handler) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(running, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return running }, ConnState: s.fresh.note,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errors.Join(errors.New("listen: the emulator is closed"), listener.Close())
	}
	s.servers = append(s.servers, server)
	s.group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error(err, "A listener ended", "address", listener.Addr())
		}
	})
	return listener.Addr().String(), nil
}

// Close ends all calls, takes the devices down and waits for everything the server started. The state stays in its folder.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	servers := s.servers
	s.mu.Unlock()
	s.faults.Clear()
	s.fresh.close()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	var closing sync.WaitGroup
	for _, server := range servers {
		closing.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close() // its calls had their time
			}
		})
	}
	closing.Wait()
	s.stop()
	s.group.Wait()
	return errors.Join(s.closeS3(), s.options.Storage.Close(), s.options.Files.Close(), s.store.Close())
}

// requestID is a fresh id in the form of a UUID.
func (s *Server) requestID() string {
	n := s.requests.Add(1)
	return fmt.Sprintf("%08x-0000-4000-8000-%012s", uint32(s.options.Seed), strconv.FormatUint(n, 16))
}
