package lifecycle

import "time"

// Range is how long something takes; the zero Range is at once.
type Range struct{ Min, Max time.Duration }

// Around is d give or take that share of it.
func Around(d time.Duration, share float64) Range {
	off := time.Duration(float64(d) * share)
	return Range{Min: d - off, Max: d + off}
}

// Times are the durations of everything that AWS does asynchronously.
type Times struct {
	Volume   Range // creating to available
	Delete   Range // deleting to gone
	Attach   Range // attaching to attached
	Detach   Range // detaching to detached
	Snapshot Range // pending to completed
	Modify   Range // modifying to optimizing; a second such time passes until completed
	Instance Range // between an instance's states

	FileSystem  Range // creating, updating or deleting a file system
	MountTarget Range // creating or deleting a mount target
	AccessPoint Range // creating or deleting an access point
}
