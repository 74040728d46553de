// Package machine makes virtual machines of this one's programs: an initramfs, kernel modules, User Mode Linux, and a
// report that comes out of them. It must not know what is done inside: that is its users' first process.
package machine
