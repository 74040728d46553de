// Package store is the emulator's one state: volumes, snapshots, instances and keys behind one mutex, kept in a journal,
// with older versions for readers that lag; it knows no protocol, no rule of AWS and no device.
package store
