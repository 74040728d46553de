package volume

import "errors"

// ErrNotAttached marks the error about a disk that is not attached to the node from which it was to be detached.
var ErrNotAttached = errors.New("not attached there")

// ErrNoNode marks the error about a node that does not exist.
var ErrNoNode = errors.New("no such node")

// DiskRequest asks for a disk on behalf of a caller that keeps the handle itself: BOSH. Two equal requests are two disks,
// unless they have a Name.
type DiskRequest struct {
	Name       string // the same name means the same disk; may be empty
	Bytes      int64
	Node       string // the disk is made where this node can reach it; may be empty
	Parameters map[string]string
	Tags       map[string]string
}

// Disk is the disk or copy that was made, and what the operator should know about it.
type Disk struct {
	Handle string
	Notes  []string
}

// DiskAttachment is how a node finds an attached disk, and what the operator should know about it.
type DiskAttachment struct {
	Hint  string // a path below /dev
	Notes []string
}

// DiskChange is a new shape of a disk that lives.
type DiskChange struct {
	Bytes int64
	// Parameters are all that the disk shall have, those of a new disk being the default; nil leaves all but the size.
	Parameters map[string]string
	Tags       map[string]string // what shall be set; others stay
}

// DiskSnapshot asks for a point-in-time copy of a disk. Two equal requests are two copies.
type DiskSnapshot struct {
	Handle      string
	Description string
	Tags        map[string]string
	Complete    bool   // answer only when all data is copied; otherwise as soon as the point in time is fixed
	DeviceTag   string // the tag that gets the device name, which also ends the description, where the disk is attached; may be empty
}
