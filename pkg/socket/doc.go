// Package socket owns Unix sockets, serves gRPC on them, and makes connections that end. It
// knows when a socket is stale, living or lost, and must not know what is said on it.
package socket
