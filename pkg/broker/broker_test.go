package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

func TestLocks(t *testing.T) {
	l := broker.NewLocks()
	expand, err := l.TryShare("expand", "vol-1")
	if err != nil {
		t.Fatal(err)
	}
	modify, err := l.TryShare("modify", "vol-1")
	if err != nil {
		t.Fatalf("two different operations that share: %v", err)
	}
	for name, try := range map[string]func() (func(), error){
		"the same operation twice":      func() (func(), error) { return l.TryShare("modify", "vol-1") },
		"an operation that wants all":   func() (func(), error) { return l.TryLock("delete", "vol-1") },
		"one that wants all, once more": func() (func(), error) { return l.TryLock("publish", "vol-1") },
	} {
		if _, err := try(); !fault.Is(err, fault.Pending) || !strings.Contains(err.Error(), "expand and modify") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if release, err := l.TryLock("delete", "vol-2"); err != nil {
		t.Errorf("another key: %v", err)
	} else {
		release()
	}
	expand()
	modify()
	release, err := l.TryLock("delete", "vol-1")
	if err != nil {
		t.Fatalf("after both are released: %v", err)
	}
	if _, err := l.TryShare("expand", "vol-1"); !fault.Is(err, fault.Pending) {
		t.Errorf("sharing what is taken alone: %v", err)
	}
	release()
}

// bare is a backend with no optional role, whose Create waits until it is told.
type bare struct {
	backend.Backend
	entered, leave chan struct{}
}

func (b *bare) Create(context.Context, volume.CreateRequest) (volume.Volume, error) {
	b.entered <- struct{}{}
	<-b.leave
	return volume.Volume{Handle: "vol-00000000"}, nil
}

func (b *bare) Delete(context.Context, string) (string, error) {
	return "", errors.New("must not be reached")
}

func TestBroker_KeepsCallsForOneNameApart(t *testing.T) {
	be := &bare{entered: make(chan struct{}), leave: make(chan struct{})}
	b := broker.New(map[volume.Kind]backend.Backend{volume.EBS: be})
	done := make(chan error, 1)
	go func() { _, err := b.Create(t.Context(), volume.EBS, volume.CreateRequest{Name: "v"}); done <- err }()
	<-be.entered
	if _, err := b.Create(t.Context(), volume.EBS, volume.CreateRequest{Name: "v"}); !fault.Is(err, fault.Pending) {
		t.Errorf("the same name while it is being made: %v", err)
	}
	close(be.leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBroker_RoutesByHandleAndSaysWhatIsMissing(t *testing.T) {
	b := broker.New(map[volume.Kind]backend.Backend{volume.EBS: &bare{}})
	if _, err := b.Delete(t.Context(), "fs-01234567"); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "[ebs]") {
		t.Errorf("a kind that is not served: %v", err)
	}
	if _, err := b.Delete(t.Context(), "nonsense"); !fault.Is(err, fault.NotFound) {
		t.Errorf("no handle at all: %v", err)
	}
	if _, err := b.Expand(t.Context(), "vol-00000000", volume.Range{}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a role that the backend has not: %v", err)
	}
	if err := b.Probe(t.Context(), volume.EBS); err != nil {
		t.Errorf("a backend without a cloud to ask: %v", err)
	}
}

// slow is a Publisher whose calls wait until they are told.
type slow struct {
	bare
}

func (s *slow) Publish(context.Context, volume.PublishRequest) (map[string]string, error) {
	s.entered <- struct{}{}
	<-s.leave
	return nil, nil
}

func (s *slow) Unpublish(context.Context, string, string) error {
	s.entered <- struct{}{}
	<-s.leave
	return nil
}

func TestBroker_ServesSeveralNodesOfOneVolumeAtOnce(t *testing.T) {
	const id = "vol-00000000"
	be := &slow{bare{entered: make(chan struct{}), leave: make(chan struct{})}}
	b := broker.New(map[volume.Kind]backend.Backend{volume.EBS: be})
	done := make(chan error, 2)
	go func() { _, err := b.Publish(t.Context(), volume.PublishRequest{Handle: id, Node: "i-1"}); done <- err }()
	<-be.entered
	go func() { done <- b.Unpublish(t.Context(), id, "i-2") }()
	<-be.entered // although i-1 is not done
	_, again := b.Publish(t.Context(), volume.PublishRequest{Handle: id, Node: "i-2"})
	_, deleted := b.Delete(t.Context(), id)
	for name, err := range map[string]error{
		"the same node": again, "its unpublishing": b.Unpublish(t.Context(), id, "i-1"),
		"every node": b.Unpublish(t.Context(), id, ""), "a deletion": deleted,
	} {
		if !fault.Is(err, fault.Pending) {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(be.leave)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
