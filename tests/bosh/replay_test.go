package bosh

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// replayed is a method whose process is killed at every call to AWS, and then asked again by another.
type replayed struct {
	name    string
	method  string
	prepare func(s *site) (arguments []any)
	// done says what is wrong with the answer to the repeated request and with what is there.
	done func(s *site, arguments []any, a answer) error
}

// soakVariable selects the run in which EC2 shows the past for a while; `make soak` sets it.
const soakVariable = "DISKBRIDGE_SOAK"

// replaySite is strongly consistent, or in the soak as EC2 is, four times as fast.
func replaySite(t *testing.T) *site {
	t.Helper()
	if os.Getenv(soakVariable) == "" {
		return newSite(t, "--devices=none")
	}
	t.Parallel() // it mostly waits
	s := newSite(t, "--devices=none", "--profile=realistic")
	s.must(harness.Speed(t.Context(), s.emulator, 4))
	s.configure(map[string]any{"absence_interval_ms": 750}) // 3 s of the emulator's time
	return s
}

func TestReplay_EveryMethod(t *testing.T) {
	for _, r := range replays() {
		t.Run(r.name, func(t *testing.T) {
			s := replaySite(t)
			arguments := r.prepare(s)
			before := s.calls()
			if err := r.done(s, arguments, s.call(t.Context(), r.method, arguments...)); err != nil {
				t.Fatalf("undisturbed: %v", err)
			}
			made := map[string]int{}
			for action, n := range s.calls() {
				if n -= before[action]; n > 0 {
					made[action] = n
				}
			}
			s.wipe()
			kills := 0
			for action, n := range made {
				if strings.HasPrefix(action, "Describe") {
					n = min(n, 2) // waits repeat reads as often as they like
				}
				for nth := 1; nth <= n; nth++ {
					for _, effect := range []string{"hold-before", "hold-after"} {
						if s.killAt(r, harness.Fault{Operation: action, Nth: nth, Effect: effect}) {
							kills++
						}
						s.wipe()
					}
				}
			}
			if kills < 2 {
				t.Errorf("only %d kills, at the calls %v", kills, made)
			}
			t.Logf("%d kills at %v", kills, made)
		})
	}
}

// killAt kills the process when AWS holds the call, and asks another process.
func (s *site) killAt(r replayed, at harness.Fault) (killed bool) {
	s.t.Helper()
	where := fmt.Sprint(at.Effect, " ", at.Operation, " ", at.Nth)
	arguments := r.prepare(s)
	s.must(harness.SetFaults(s.t.Context(), s.emulator, at))
	cmd, ended := s.start(r.method, arguments)
	killed = s.held(ended)
	if killed {
		s.must(cmd.Process.Kill())
		<-ended
	}
	s.must(harness.ClearFaults(s.t.Context(), s.emulator))
	if err := r.done(s, arguments, s.call(s.t.Context(), r.method, arguments...)); err != nil {
		s.t.Errorf("%s: %v", where, err)
	}
	return killed
}

// start runs our executable in the background; the channel is closed when it has ended.
func (s *site) start(method string, arguments []any) (*exec.Cmd, chan struct{}) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{"method": method, "arguments": arguments, "api_version": 2, "context": map[string]any{"director_uuid": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"}})
	s.must(err)
	cmd := exec.CommandContext(s.t.Context(), s.ours) // the wrapper execs, so that its process is ours
	cmd.Env, cmd.Stdin = []string{"PATH=/usr/bin:/bin"}, bytes.NewReader(text)
	s.must(cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // it is killed, or its answer is not wanted
	return cmd, ended
}

// held waits until AWS holds a call (true) or the process has ended (false).
func (s *site) held(ended chan struct{}) bool {
	s.t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ended:
			return false
		case <-again.C:
			if n, err := harness.Held(s.t.Context(), s.emulator); err != nil {
				s.t.Fatal(err)
			} else if n > 0 {
				return true
			}
		}
	}
}

func (s *site) calls() map[string]int {
	s.t.Helper()
	all, err := s.emulator.Calls(s.t.Context())
	s.must(err)
	counts := map[string]int{}
	for action, n := range all {
		counts[action] = n.OK + n.Throttled + n.Error
	}
	return counts
}

// wipe empties the emulator.
func (s *site) wipe() {
	s.t.Helper()
	s.must(s.emulator.Control(s.t.Context(), "POST", "reset", nil, nil))
}

// live are the volumes that are not being deleted, and all snapshots.
func (s *site) live() (volumes []harness.TrueVolume, snapshots []harness.TrueSnapshot) {
	s.t.Helper()
	truth, err := harness.ReadTruth(context.WithoutCancel(s.t.Context()), s.emulator)
	s.must(err)
	return slices.DeleteFunc(truth.Volumes, func(v harness.TrueVolume) bool { return v.State == "deleting" }), truth.Snapshots
}

func (a answer) fails(allowed ...string) error {
	if a.Error == nil {
		return nil
	}
	for _, kind := range allowed {
		if a.Error.Type == "Bosh::Clouds::"+kind {
			return nil
		}
	}
	return fmt.Errorf("%s: %s", a.Error.Type, a.Error.Message)
}

func replays() []replayed {
	vm := func(s *site) string { return s.emulator.Instances[0].ID }
	disk := func(s *site) string { return s.text("create_disk", 1024, map[string]any{"type": "gp3"}, vm(s)) }
	attached := func(s *site) string {
		id := disk(s)
		_ = s.text("attach_disk", vm(s), id)
		return id
	}
	one := func(s *site, what string, right func(v harness.TrueVolume) bool) error {
		if volumes, _ := s.live(); len(volumes) != 1 || !right(volumes[0]) {
			return fmt.Errorf("it is not the one disk that is %s: %+v", what, volumes)
		}
		return nil
	}
	return slices.Concat(creations(vm, one), []replayed{
		{
			"delete_disk", "delete_disk", func(s *site) []any { return []any{disk(s)} },
			func(s *site, _ []any, a answer) error {
				if volumes, _ := s.live(); len(volumes) > 0 {
					return fmt.Errorf("it is still there: %+v", volumes)
				}
				return a.fails("DiskNotFound")
			},
		},
		{
			"has_disk", "has_disk", func(s *site) []any { return []any{disk(s)} },
			func(_ *site, _ []any, a answer) error {
				if string(a.Result) != "true" {
					return fmt.Errorf("it answered %s", a.Result)
				}
				return a.fails()
			},
		},
	}, attachments(vm, disk, attached, one), changes(disk, attached, one))
}

func changes(disk, attached func(*site) string, one func(*site, string, func(harness.TrueVolume) bool) error) []replayed {
	return []replayed{
		{
			"resize_disk", "resize_disk", func(s *site) []any { return []any{disk(s), 2048} },
			func(s *site, _ []any, a answer) error {
				if err := a.fails(); err != nil {
					return err
				}
				return one(s, "of 2 GiB", func(v harness.TrueVolume) bool { return v.SizeGiB == 2 })
			},
		},
		{
			"update_disk", "update_disk", func(s *site) []any {
				return []any{disk(s), 10240, map[string]any{"iops": 4000, "tags": map[string]string{"tier": "gold"}}}
			},
			func(s *site, _ []any, a answer) error {
				if err := a.fails(); err != nil {
					return err
				}
				return one(s, "of 10 GiB and 4000 iops", func(v harness.TrueVolume) bool { return v.SizeGiB == 10 && v.IOPS == 4000 && v.Tags["tier"] == "gold" })
			},
		},
		{
			"set_disk_metadata", "set_disk_metadata", func(s *site) []any { return []any{disk(s), map[string]string{"deployment": "cf"}} },
			func(s *site, _ []any, a answer) error {
				if err := a.fails(); err != nil {
					return err
				}
				return one(s, "tagged", func(v harness.TrueVolume) bool { return v.Tags["deployment"] == "cf" })
			},
		},
		{
			"snapshot_disk", "snapshot_disk", func(s *site) []any { return []any{attached(s), map[string]any{"deployment": "cf"}} },
			func(s *site, _ []any, a answer) error {
				_, snapshots := s.live()
				for _, snap := range snapshots {
					if string(a.Result) == `"`+snap.ID+`"` && snap.Tags["diskbridge.io/unconfirmed"] != "" {
						return fmt.Errorf("the snapshot that was answered is %+v", snap)
					}
				}
				if len(snapshots) == 0 || len(snapshots) > 2 {
					return fmt.Errorf("%d snapshots are there", len(snapshots))
				}
				return a.fails()
			},
		},
		{
			"delete_snapshot", "delete_snapshot", func(s *site) []any { return []any{s.text("snapshot_disk", disk(s), map[string]any{})} },
			func(s *site, _ []any, a answer) error {
				if _, snapshots := s.live(); len(snapshots) > 0 {
					return fmt.Errorf("it is still there: %+v", snapshots)
				}
				return a.fails()
			},
		},
	}
}

func creations(vm func(*site) string, one func(*site, string, func(harness.TrueVolume) bool) error) []replayed {
	return []replayed{
		{
			// Two calls are two disks; the first is left only where an operator finds it.
			"create_disk", "create_disk", func(s *site) []any { return []any{1024, map[string]any{}, vm(s)} },
			func(s *site, _ []any, a answer) error {
				volumes, _ := s.live()
				for _, v := range volumes {
					if string(a.Result) == `"`+v.ID+`"` && (v.State != "available" || v.Tags["diskbridge.io/unconfirmed"] != "") {
						return fmt.Errorf("the disk that was answered is %+v", v)
					}
					if v.Tags["diskbridge.io/layout"] != "blank" || v.Tags["diskbridge.io/holder"] == "" {
						return fmt.Errorf("nobody finds %+v", v)
					}
				}
				if len(volumes) == 0 || len(volumes) > 2 {
					return fmt.Errorf("%d disks are there", len(volumes))
				}
				return a.fails()
			},
		},
		{
			"create_disk with a name", "create_disk", func(s *site) []any { return []any{1024, map[string]any{"name": "cache"}, vm(s)} },
			func(s *site, _ []any, a answer) error {
				if err := a.fails(); err != nil {
					return err
				}
				return one(s, "available and confirmed", func(v harness.TrueVolume) bool {
					return string(a.Result) == `"`+v.ID+`"` && v.State == "available" && v.Tags["diskbridge.io/unconfirmed"] == ""
				})
			},
		},
	}
}

func attachments(vm, disk, attached func(*site) string, one func(*site, string, func(harness.TrueVolume) bool) error) []replayed {
	return []replayed{
		{
			"attach_disk", "attach_disk", func(s *site) []any { return []any{vm(s), disk(s)} },
			func(s *site, _ []any, a answer) error {
				if err := a.fails(); err != nil {
					return err
				}
				return one(s, "attached", func(v harness.TrueVolume) bool {
					on, is := v.On(vm(s))
					return is && on.State == "attached" && v.Tags["diskbridge.io/layout"] == "bosh"
				})
			},
		},
		{
			"detach_disk", "detach_disk", func(s *site) []any { id := attached(s); return []any{vm(s), id} },
			func(s *site, _ []any, a answer) error {
				if err := a.fails("DiskNotAttached"); err != nil {
					return err
				}
				return one(s, "detached", func(v harness.TrueVolume) bool { return len(v.Attachments) == 0 })
			},
		},
		{
			"get_disks", "get_disks", func(s *site) []any { attached(s); return []any{vm(s)} },
			func(_ *site, _ []any, a answer) error {
				if !strings.HasPrefix(string(a.Result), `["vol-`) {
					return fmt.Errorf("it answered %s", a.Result)
				}
				return a.fails()
			},
		},
	}
}
