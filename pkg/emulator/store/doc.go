// Package store is the emulator's one state: volumes, snapshots, instances and keys behind one mutex, each kept as a JSON file,
// with older versions for readers that lag; it knows no protocol, no rule of AWS and no device.
package store
