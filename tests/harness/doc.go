// Package harness runs the project's binaries for tests: built once, started with an owner, and proven to leave nothing.
// It knows command lines, sockets and what a host shows; it must not know what is inside the binaries.
package harness
