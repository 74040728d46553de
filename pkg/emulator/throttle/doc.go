// Package throttle limits calls per action with AWS's token buckets and counts how calls ended; it knows actions only by name.
package throttle
