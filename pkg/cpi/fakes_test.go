package cpi

import (
	"context"
	"fmt"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/broker"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// credentials are a context's, as a CPI config's properties put them there.
const credentials = `{"director_uuid":"d-1","access_key_id":"AKIA","secret_access_key":"hunter2","region":"us-east-1"}`

// fakeParameters are the engine's, as far as the front door has to know them.
var fakeParameters = backend.Parameters{
	{Key: "type", Aliases: []string{"volumeType"}, Type: backend.String},
	{Key: "iops", Type: backend.Int},
	{Key: "encrypted", Type: backend.Bool},
	{Key: "kmsKeyId", Aliases: []string{"kms_key_arn"}, Type: backend.String},
}

// fakeDisks remembers what it was asked for.
type fakeDisks struct {
	backend.Backend
	asked    any
	settings Settings
	err      error
}

var (
	_ backend.DiskKeeper      = (*fakeDisks)(nil)
	_ backend.DiskAttacher    = (*fakeDisks)(nil)
	_ backend.DiskSnapshotter = (*fakeDisks)(nil)
)

func (f *fakeDisks) open(_ context.Context, s Settings) (*broker.Broker, func(), error) {
	f.settings = s
	return broker.New(map[volume.Kind]backend.Backend{volume.EBS: f}), func() {}, nil
}

func (f *fakeDisks) CreateDisk(_ context.Context, req volume.DiskRequest) (volume.Disk, error) {
	f.asked = req
	return volume.Disk{Handle: "vol-00000001", Notes: []string{"a note"}}, f.err
}

func (f *fakeDisks) DeleteDisk(_ context.Context, handle string) error {
	f.asked = handle
	return f.err
}

func (f *fakeDisks) HasDisk(_ context.Context, handle string) (bool, error) {
	f.asked = handle
	return true, f.err
}

func (f *fakeDisks) ChangeDisk(_ context.Context, handle string, c volume.DiskChange) ([]string, error) {
	f.asked = c
	return nil, f.err
}

func (f *fakeDisks) TagDisk(_ context.Context, _ string, tags map[string]string) ([]string, error) {
	f.asked = tags
	return nil, f.err
}

func (f *fakeDisks) AttachDisk(_ context.Context, handle, node string) (volume.DiskAttachment, error) {
	f.asked = fmt.Sprint(handle, " on ", node)
	return volume.DiskAttachment{Hint: "/dev/x"}, f.err
}

func (f *fakeDisks) DetachDisk(_ context.Context, handle, node string) error {
	f.asked = fmt.Sprint(handle, " off ", node)
	return f.err
}

func (f *fakeDisks) NodeDisks(_ context.Context, node string) ([]string, error) {
	f.asked = node
	return []string{"vol-00000001"}, f.err
}

func (f *fakeDisks) SnapshotDisk(_ context.Context, req volume.DiskSnapshot) (volume.Disk, error) {
	f.asked = req
	return volume.Disk{Handle: "snap-00000001"}, f.err
}

func (f *fakeDisks) DeleteDiskSnapshot(_ context.Context, id string) error {
	f.asked = id
	return f.err
}
