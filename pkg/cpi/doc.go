// Package cpi is BOSH's front door: one JSON request in, one strict JSON response out.
// It knows BOSH's methods, argument lists, error types and the AWS CPI's properties; it must not call any cloud, and its JSON never leaves it.
package cpi
