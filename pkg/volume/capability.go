package volume

// AccessMode says who may use a volume at the same time, in the CSI
// specification's terms (VolumeCapability.AccessMode).
type AccessMode string

// The access modes of the CSI specification.
const (
	SingleNodeWriter       AccessMode = "SINGLE_NODE_WRITER"
	SingleNodeReaderOnly   AccessMode = "SINGLE_NODE_READER_ONLY"
	SingleNodeSingleWriter AccessMode = "SINGLE_NODE_SINGLE_WRITER"
	SingleNodeMultiWriter  AccessMode = "SINGLE_NODE_MULTI_WRITER"
	MultiNodeReaderOnly    AccessMode = "MULTI_NODE_READER_ONLY"
	MultiNodeSingleWriter  AccessMode = "MULTI_NODE_SINGLE_WRITER"
	MultiNodeMultiWriter   AccessMode = "MULTI_NODE_MULTI_WRITER"
)

// ReadOnly reports whether nobody writes in this mode.
func (m AccessMode) ReadOnly() bool {
	return m == SingleNodeReaderOnly || m == MultiNodeReaderOnly
}

// MultiNode reports whether several nodes use the volume at once.
func (m AccessMode) MultiNode() bool {
	return m == MultiNodeReaderOnly || m == MultiNodeSingleWriter || m == MultiNodeMultiWriter
}

// Capability is how a volume is going to be used. Block means a raw device;
// FSType, MountFlags and Group belong to a mounted file system.
type Capability struct {
	Mode       AccessMode
	Block      bool
	FSType     string
	MountFlags []string
	Group      string
}
