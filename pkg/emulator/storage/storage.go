package storage

import (
	"context"
	"errors"
)

// ErrBusy is what [Storage.Detach] returns, wrapped or bare, while the guest still holds the device.
// The emulator then shows the attachment as AWS does: "busy".
var ErrBusy = errors.New("device is in use by the guest")

// Storage keeps the bytes of volumes and snapshots and shows attached volumes to instances.
// Every method is idempotent: after a crash the emulator repeats what it is not sure of.
// Methods are called one at a time for one id, and concurrently for different ids.
// Sizes are bytes.
type Storage interface {
	// AddInstance makes the instance's empty device and sysfs trees.
	AddInstance(ctx context.Context, instanceID string) error
	// Roots names the instance's trees: what it should take for /dev and for /sys. Both are empty if there are none.
	Roots(instanceID string) (deviceRoot, sysfsRoot string)

	// CreateVolume makes a sparse volume of that size.
	CreateVolume(ctx context.Context, volumeID string, sizeBytes int64) error
	// Copy makes toID with fromID's bytes: volume to snapshot, snapshot to volume or volume to volume.
	// It keeps holes and makes the target at least sizeBytes large.
	Copy(ctx context.Context, fromID, toID string, sizeBytes int64) error
	// Grow enlarges a volume; devices that show it see the new size.
	Grow(ctx context.Context, volumeID string, sizeBytes int64) error
	// Remove drops a volume or a snapshot; an unknown id is no error.
	Remove(ctx context.Context, id string) error

	// Attach makes the volume's NVMe name, serial and model appear in the instance's trees.
	Attach(ctx context.Context, instanceID, volumeID string) error
	// Detach makes them disappear, or returns [ErrBusy] while the guest holds the device and force is false.
	// A volume that is not attached is no error.
	Detach(ctx context.Context, instanceID, volumeID string, force bool) error

	// Close takes every device down and keeps the bytes.
	Close() error
}

// None keeps nothing and shows nothing: the control plane alone.
type None struct{}

var _ Storage = None{}

// AddInstance does nothing.
func (None) AddInstance(context.Context, string) error { return nil }

// Roots answers no trees.
func (None) Roots(string) (deviceRoot, sysfsRoot string) { return "", "" }

// CreateVolume does nothing.
func (None) CreateVolume(context.Context, string, int64) error { return nil }

// Copy does nothing.
func (None) Copy(context.Context, string, string, int64) error { return nil }

// Grow does nothing.
func (None) Grow(context.Context, string, int64) error { return nil }

// Remove does nothing.
func (None) Remove(context.Context, string) error { return nil }

// Attach does nothing.
func (None) Attach(context.Context, string, string) error { return nil }

// Detach does nothing.
func (None) Detach(context.Context, string, string, bool) error { return nil }

// Close does nothing.
func (None) Close() error { return nil }

// FileServer makes file systems reachable by NFS. Its methods may be repeated.
type FileServer interface {
	// Serve answers NFS at an address with a file system, which is made where it is new.
	Serve(ctx context.Context, fileSystem, ip string) error
	// Stop ends the answering at an address.
	Stop(ctx context.Context, fileSystem, ip string) error
	// Remove drops a file system with all that is in it.
	Remove(ctx context.Context, fileSystem string) error
	// Close ends what serves; the files stay.
	Close() error
}

// NoFiles serves nothing: mount targets have addresses at which nobody answers.
type NoFiles struct{}

var _ FileServer = NoFiles{}

// Serve does nothing.
func (NoFiles) Serve(context.Context, string, string) error { return nil }

// Stop does nothing.
func (NoFiles) Stop(context.Context, string, string) error { return nil }

// Remove does nothing.
func (NoFiles) Remove(context.Context, string) error { return nil }

// Close does nothing.
func (NoFiles) Close() error { return nil }
