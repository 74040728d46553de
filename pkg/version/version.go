// Package version is the one place that knows how this build is called. It must not know anything else.
package version

import "runtime/debug"

// String returns the module's version as Go's build info has it: the tag, a
// pseudo-version of the commit, or "(devel)" where neither is known.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
