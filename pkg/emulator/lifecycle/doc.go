// Package lifecycle takes volumes, snapshots and instances from one state to the next when their time has come,
// and has the disks follow; it knows no protocol and decides nothing that a caller asks for.
package lifecycle
