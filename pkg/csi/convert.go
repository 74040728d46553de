package csi

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Size limits of the CSI specification ("Size Limits").
const (
	maxString = 128
	maxMap    = 4 << 10
)

func checkString(field, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s must be given", field)
	case len(s) > maxString:
		return fmt.Errorf("%s has %d bytes, more than the %d that CSI allows", field, len(s), maxString)
	case strings.ContainsFunc(s, banned):
		return fmt.Errorf("%s has control characters, which CSI does not allow", field)
	}
	return nil
}

// banned are the characters that the specification excludes from names: control characters other than white space.
func banned(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) }

func checkMap(field string, m map[string]string) error {
	size := 0
	for k, v := range m {
		size += len(k) + len(v)
	}
	if size > maxMap {
		return fmt.Errorf("%s has %d bytes, more than the %d that CSI allows", field, size, maxMap)
	}
	return nil
}

// checkPath accepts an absolute path in its shortest form, inside root where one is
// configured: nothing may lead out of the directory that the caller owns.
func checkPath(field, path, root string) error {
	switch {
	case path == "":
		return fmt.Errorf("%s must be given", field)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		return fmt.Errorf("%s %q is not an absolute path without . and .. parts", field, path)
	}
	if root == "" {
		return nil
	}
	if !inside(root, path) || path == filepath.Clean(root) {
		return fmt.Errorf("%s %q is outside %s", field, path, root)
	}
	// Symbolic links are followed as far as the folder that the path is in; what does not exist leads nowhere.
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	if !inside(root, parent) {
		return fmt.Errorf("%s %q leads to %s by a symbolic link, outside %s", field, path, parent, root)
	}
	return nil
}

func inside(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

func toCapability(c *csipb.VolumeCapability) (volume.Capability, error) {
	if c == nil {
		return volume.Capability{}, fmt.Errorf("volume_capability must be given")
	}
	out := volume.Capability{Mode: volume.AccessMode(c.GetAccessMode().GetMode().String())}
	switch {
	case c.GetAccessMode().GetMode() == csipb.VolumeCapability_AccessMode_UNKNOWN:
		return out, fmt.Errorf("volume_capability.access_mode must be given")
	case csipb.VolumeCapability_AccessMode_Mode_name[int32(c.GetAccessMode().GetMode())] == "":
		return out, fmt.Errorf("volume_capability.access_mode %d is none that CSI has", c.GetAccessMode().GetMode())
	case c.GetBlock() != nil:
		out.Block = true
	case c.GetMount() != nil:
		out.FSType = c.GetMount().GetFsType()
		out.MountFlags = c.GetMount().GetMountFlags()
		out.Group = c.GetMount().GetVolumeMountGroup()
	default:
		return out, fmt.Errorf("volume_capability must be of type block or mount")
	}
	return out, nil
}

func toCapabilities(list []*csipb.VolumeCapability) ([]volume.Capability, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("volume_capabilities must be given")
	}
	out := make([]volume.Capability, 0, len(list))
	for _, c := range list {
		v, err := toCapability(c)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func toRange(r *csipb.CapacityRange) volume.Range {
	return volume.Range{RequiredBytes: r.GetRequiredBytes(), LimitBytes: r.GetLimitBytes()}
}

func toTopologies(list []*csipb.Topology) []volume.Topology {
	var out []volume.Topology
	for _, t := range list {
		s := t.GetSegments()
		out = append(out, volume.Topology{Zone: cmp.Or(s[volume.ZoneKey], s[volume.EBSZoneKey]), ZoneID: s[volume.ZoneIDKey]})
	}
	return out
}

// toRequirement refuses what names places by keys that nobody here knows: anywhere would not be what is asked for.
func toRequirement(r *csipb.TopologyRequirement) (volume.Requirement, error) {
	out := volume.Requirement{Preferred: toTopologies(r.GetPreferred()), Requisite: toTopologies(r.GetRequisite())}
	if len(out.Candidates()) > 0 {
		return out, nil
	}
	for _, t := range append(r.GetPreferred(), r.GetRequisite()...) {
		for key := range t.GetSegments() {
			return out, fmt.Errorf("accessibility_requirements name a place by %q only; known are %s, %s and %s", key, volume.ZoneKey, volume.EBSZoneKey, volume.ZoneIDKey)
		}
	}
	return out, nil
}

func toSource(s *csipb.VolumeContentSource) (volume.Source, error) {
	switch {
	case s == nil:
		return volume.Source{}, nil
	case s.GetSnapshot().GetSnapshotId() != "":
		return volume.Source{Snapshot: s.GetSnapshot().GetSnapshotId()}, nil
	case s.GetVolume().GetVolumeId() != "":
		return volume.Source{Volume: s.GetVolume().GetVolumeId()}, nil
	default:
		return volume.Source{}, fmt.Errorf("volume_content_source must name a snapshot or a volume")
	}
}

func fromVolume(v volume.Volume) *csipb.Volume {
	out := &csipb.Volume{VolumeId: v.Handle, CapacityBytes: v.Bytes, VolumeContext: v.Context}
	for _, t := range v.Topology {
		out.AccessibleTopology = append(out.AccessibleTopology, fromTopology(t))
	}
	switch {
	case v.Source.Snapshot != "":
		out.ContentSource = &csipb.VolumeContentSource{Type: &csipb.VolumeContentSource_Snapshot{
			Snapshot: &csipb.VolumeContentSource_SnapshotSource{SnapshotId: v.Source.Snapshot},
		}}
	case v.Source.Volume != "":
		out.ContentSource = &csipb.VolumeContentSource{Type: &csipb.VolumeContentSource_Volume{
			Volume: &csipb.VolumeContentSource_VolumeSource{VolumeId: v.Source.Volume},
		}}
	}
	return out
}

// fromTopology is nil where volumes are reached from everywhere.
func fromTopology(t volume.Topology) *csipb.Topology {
	if t.Zone == "" {
		return nil
	}
	return &csipb.Topology{Segments: map[string]string{volume.ZoneKey: t.Zone}}
}

func fromSnapshot(s volume.Snapshot) *csipb.Snapshot {
	return &csipb.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Source, SizeBytes: s.Bytes,
		CreationTime: timestamppb.New(s.Created), ReadyToUse: s.Ready,
	}
}

// first returns the first error of several checks.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
