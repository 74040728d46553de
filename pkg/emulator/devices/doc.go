// Package devices keeps the emulator's volumes in sparse files and shows attached ones as loop devices under NVMe names;
// it knows files, loop devices and sysfs, and must not know AWS's protocol or the driver under test.
package devices
