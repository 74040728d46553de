// Command kernels runs the node half's tests of block devices on an older kernel that has all capabilities: User Mode Linux.
// It knows how to make such a machine from this one's packages, and must not know what is tested in it: those are the tests
// of pkg/mount, as `go test` runs them on this machine's kernel.
package main
