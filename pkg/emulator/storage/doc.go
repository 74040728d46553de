// Package storage says what the emulator needs from the disks behind it; it knows no AWS protocol and no implementation.
package storage
