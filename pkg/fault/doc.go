// Package fault is the closed list of ways in which an operation of diskbridge
// can fail. It knows outcomes (was it refused, is it still running, is the
// outcome unknown); it must not know gRPC codes, CPI error types or AWS codes.
package fault
