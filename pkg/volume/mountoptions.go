package volume

// MountOptions are checked mount options, in the form that mount(8) takes after -o.
type MountOptions []string

// ParseMountOptions checks user options against the allow-list of the file system.
func ParseMountOptions(fsType string, flags []string) (MountOptions, error) {
	return MountOptions(flags), nil // TODO(mount colleague): allow-list
}
