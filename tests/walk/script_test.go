package walk

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// verb is what a step asks for.
type verb string

const (
	create         verb = "create"
	createOther    verb = "create with another size" // of a name that exists: a conflict
	publish        verb = "publish"
	unpublish      verb = "unpublish"
	unpublishAll   verb = "unpublish everywhere"
	expand         verb = "expand"
	remove         verb = "delete"
	snapshot       verb = "snapshot"
	removeSnapshot verb = "delete snapshot"
	modify         verb = "modify"
	clone          verb = "clone"
	removeClone    verb = "delete clone"
	toggleNode     verb = "stop or start the own node"
	endNode        verb = "terminate the own node"
	get            verb = "get"
	list           verb = "list"
)

// step is one request of a lane, or two at the same time. The seed alone fixes it; what it is about, such as the id of
// the lane's volume, comes from the model. A step that the model does not allow is replaced by the one that must come
// before it (see lane.legal).
type step struct {
	verb   verb
	driver int   // which process is asked
	node   int   // of publish and unpublish
	grow   int64 // GiB: the size of a new volume, or by how much one grows
	slot   int   // of snapshots
	flag   bool  // create: take the name of the deleted volume again, or restore the slot's snapshot
	rival  *step // asked at the same time, of the other process
}

func (s step) String() string {
	text := fmt.Sprintf("%s (process %d, node %d, %d GiB, slot %d, %t)", s.verb, s.driver, s.node, s.grow, s.slot, s.flag)
	if s.rival != nil {
		text += " beside " + s.rival.String()
	}
	return text
}

// weights say how often each verb comes.
var weights = []struct {
	verb   verb
	weight int
}{
	{create, 14}, {createOther, 2}, {publish, 22}, {unpublish, 16}, {unpublishAll, 4}, {expand, 7},
	{remove, 10}, {snapshot, 9}, {removeSnapshot, 7}, {modify, 8}, {clone, 6}, {removeClone, 3}, {toggleNode, 3}, {endNode, 3}, {get, 5}, {list, 2},
}

// rivals are the verbs that a verb is asked beside, of the other process. CreateSnapshot is not among them: EC2 has no
// idempotency token for it, so two processes that are asked for one new name at the same time can take two snapshots.
var rivals = map[verb][]verb{
	create: {create}, publish: {publish, publish, unpublish, remove}, unpublish: {unpublish}, expand: {expand, modify}, modify: {modify, expand},
	remove: {remove}, removeSnapshot: {removeSnapshot}, clone: {clone}, removeClone: {removeClone},
}

// script makes the steps of every lane: in all, about total requests.
func script(seed uint64, lanes, total int) [][]step {
	out := make([][]step, lanes)
	for lane := range out {
		chance := rand.New(rand.NewPCG(seed, uint64(lane)))
		for asked := 0; asked < total/lanes; asked++ {
			s := randomStep(chance)
			if others := rivals[s.verb]; len(others) > 0 && chance.IntN(6) == 0 {
				rival := randomStep(chance)
				rival.verb, rival.driver = others[chance.IntN(len(others))], 1-s.driver
				if rival.verb != publish {
					rival.node = s.node
				}
				rival.slot, rival.flag = s.slot, s.flag
				s.rival = &rival
				asked++
			}
			out[lane] = append(out[lane], s)
		}
	}
	return out
}

func randomStep(chance *rand.Rand) step {
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	s := step{
		driver: chance.IntN(drivers), node: chance.IntN(nodes), grow: 1 + chance.Int64N(4),
		slot: chance.IntN(slots), flag: chance.IntN(2) == 0,
	}
	at := chance.IntN(sum)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			s.verb = w.verb
			break
		}
	}
	return s
}

func TestScript_TheSeedFixesIt(t *testing.T) {
	one, same, other := script(7, 4, 400), script(7, 4, 400), script(8, 4, 400)
	if !reflect.DeepEqual(one, same) {
		t.Error("two scripts of one seed differ")
	}
	if reflect.DeepEqual(one, other) {
		t.Error("the scripts of two seeds are the same")
	}
	seen, both := map[verb]bool{}, 0
	for _, lane := range one {
		for _, s := range lane {
			seen[s.verb] = true
			if s.rival != nil {
				both++
			}
		}
	}
	if len(seen) != len(weights) || both == 0 {
		t.Errorf("%d verbs of %d, %d of them at the same time as another", len(seen), len(weights), both)
	}
}
