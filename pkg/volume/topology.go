package volume

// Topology keys. ZoneKey is what diskbridge answers; the others are accepted.
const (
	ZoneKey    = "topology.kubernetes.io/zone"
	EBSZoneKey = "topology.ebs.csi.aws.com/zone"
	ZoneIDKey  = "topology.k8s.aws/zone-id"
)

// Topology is where a volume or a node is. One of Zone ("us-east-1a") and
// ZoneID ("use1-az1") is enough; an empty Topology means "anywhere".
type Topology struct {
	Zone   string
	ZoneID string
}

// Requirement is where a new volume must be reachable from, best place first.
type Requirement struct {
	Preferred []Topology
	Requisite []Topology
}

// Candidates returns the places to try in order: preferred before requisite,
// without repeats and without empty ones.
func (r Requirement) Candidates() []Topology {
	var out []Topology
	seen := map[Topology]bool{{}: true}
	for _, t := range append(append([]Topology{}, r.Preferred...), r.Requisite...) {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
