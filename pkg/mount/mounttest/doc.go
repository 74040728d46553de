// Package mounttest gives tests a node with real disks: loop devices below a device and a sysfs tree of its own. It
// knows loop devices and sysfs; it must not know the package under test or the emulator.
package mounttest
