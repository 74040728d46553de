// Package cpi is BOSH's front door: one JSON request in, one strict JSON response out.
// It knows BOSH's methods, argument lists and error types; it must not know any cloud, and its JSON never leaves it.
package cpi
