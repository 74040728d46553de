// Package lane is what test programs have in common that are no `go test`: how they end, what they build, and how a
// machine reports on its scenarios. It must not know what is tested.
package lane
