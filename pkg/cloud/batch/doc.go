// Package batch turns many single questions into few calls, and many waits into
// one shared rhythm of polling. It knows nothing of any cloud.
package batch
