package volume

// Ailment is something that is wrong with a volume now.
type Ailment struct {
	Inaccessible bool   // the volume cannot be used at all; else it is only worse than it should be
	Reason       string // one word in CamelCase
	Message      string
}
