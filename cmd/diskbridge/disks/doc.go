// Package disks is the operator's view of the disks in AWS: who holds them, what was left, and how they change hands.
// It knows command lines and the engine; it must not know Kubernetes or BOSH.
package disks
