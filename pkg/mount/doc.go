// Package mount does all that a node does to a block device: finding it by its serial number, making and checking file
// systems, mounting, growing, measuring. It knows the kernel and its tools; it must not know CSI, a cloud or a backend.
package mount
