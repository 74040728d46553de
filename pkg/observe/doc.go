// Package observe is what an operator sees: metrics, health endpoints and traces.
// It knows names of methods and outcomes, never what a request was about.
package observe
