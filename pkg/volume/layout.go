package volume

import (
	"fmt"
	"strings"
)

// ContextLayout is the volume context key of the [Layout]; without it, see [BlockPlan].
const ContextLayout = "diskbridge.io/layout"

// Layout is what stands on a disk, in the words of the tag of the same key.
type Layout string

// The layouts of a disk. A disk of a layout that is not known is mounted as what it is found to be, and never formatted.
const (
	LayoutBlank   Layout = "blank"   // nothing yet; the first user decides
	LayoutRaw     Layout = "raw"     // a file system or raw data on the whole device
	LayoutBosh    Layout = "bosh"    // one GPT partition with ext4 or xfs, as BOSH's agent makes it
	LayoutUnknown Layout = "unknown" // whatever is found
)

// Supports answers nil where a new disk of this layout can be used like this.
func (l Layout) Supports(c Capability) error {
	fsType := strings.ToLower(c.FSType)
	switch {
	case l != LayoutBosh:
		return nil
	case c.Block:
		return fmt.Errorf("layout bosh is a partition with a file system, and a raw block volume has none; leave it out, or use volumeMode: Filesystem")
	case fsType != "" && fsType != Ext4 && fsType != XFS:
		return fmt.Errorf("layout bosh does not fit file system %s; BOSH's agent knows ext4 and xfs", fsType)
	default:
		return nil
	}
}

// layoutOf reads the context's word. Without one, a volume that was made empty for its claim is raw, as it always was;
// of any other (restored, cloned, adopted, written by hand) nobody said what it carries.
func layoutOf(context map[string]string, madeEmpty bool) (Layout, error) {
	l := Layout(context[ContextLayout])
	switch {
	case l == LayoutRaw || l == LayoutBosh || l == LayoutUnknown:
		return l, nil
	case l == LayoutBlank, l == "" && madeEmpty:
		return LayoutRaw, nil
	case l == "":
		return LayoutUnknown, nil
	default:
		return "", fmt.Errorf("volume context %s=%.40q is not one of %s, %s, %s, %s", ContextLayout, string(l), LayoutBlank, LayoutRaw, LayoutBosh, LayoutUnknown)
	}
}
