// Package socket owns Unix sockets and serves gRPC on them. It knows when a socket
// is stale, living or lost, and must not know what is said on it.
package socket
