package emulator_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/tools/go/packages"

	"github.com/diskbridge/diskbridge/pkg/emulator"
	"github.com/diskbridge/diskbridge/pkg/emulator/clock"
	"github.com/diskbridge/diskbridge/pkg/emulator/faults"
)

func (c *cloud) control(method, path, body string) (int, string) {
	c.t.Helper()
	r := must(http.NewRequestWithContext(c.ctx, method, c.Endpoint()+"/_emulator/"+path, strings.NewReader(body)))(c)
	return c.send(r)
}

func TestControl_overHTTP(t *testing.T) {
	c := start(t, emulator.Options{})
	for _, row := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "faults", `[{"operation":"CreateVolume","nth":1,"probability":0,"effect":"refuse","code":"","delay_ms":0}]`, 200},
		{"POST", "faults", `[{"operation":"CreateVolume","nht":1}]`, 400},
		{"POST", "faults", `[{"operation":"CreateVolume","effect":"explode"}]`, 400},
		{"POST", "release", `{"operation":"*"}`, 200},
		{"POST", "release", `{}`, 400},
		{"POST", "clock", `{"advance_seconds":3600}`, 200},
		{"POST", "clock", `{"speed":0}`, 200},
		{"POST", "clock", `{"speed":-1}`, 400},
		{"GET", "held", "", 200},
		{"GET", "nonsense", "", 404},
		{"GET", "reset", "", 404},
	} {
		if status, body := c.control(row.method, row.path, row.body); status != row.status || !json.Valid([]byte(body)) {
			t.Errorf("%s %s %s: %d %s, want %d", row.method, row.path, row.body, status, body, row.status)
		}
	}
	if got := c.Now().Hour(); got != 4 {
		t.Errorf("it is %d h, want 4 h", got)
	}
	if _, body := c.control("GET", "faults", ""); !strings.Contains(body, "CreateVolume") {
		t.Errorf("live faults: %s", body)
	}
	_, err := c.ec2.CreateVolume(c.ctx, newVolume())
	c.wantCode(err, "InternalError")
	id := c.createVolume()
	if _, body := c.control("GET", "calls", ""); strings.TrimSpace(body) != `{"CreateVolume":{"ok":1,"throttled":0,"error":1}}` {
		t.Errorf("calls: %s", body)
	}
	if _, body := c.control("GET", "state", ""); !strings.Contains(body, id) {
		t.Errorf("state: %s", body)
	}
	if status, _ := c.control("POST", "faults", `[{"operation":"*","effect":"refuse"}]`); status != 200 || len(c.Faults()) != 1 {
		t.Errorf("set a fault: %d, then %+v", status, c.Faults())
	}
	c.fault(emulator.Fault{Operation: "CreateVolume", Value: "mine", Effect: faults.Refuse})
	before := len(c.Faults())
	if status, _ := c.control("DELETE", "faults", `{"value": "mine"}`); status != 200 || len(c.Faults()) != before-1 {
		t.Errorf("faults of one value: %d, %+v left", status, c.Faults())
	}
	if status, _ := c.control("DELETE", "faults", `{"values": "mine"}`); status != 400 || len(c.Faults()) != before-1 {
		t.Errorf("what is not understood: %d, %+v left", status, c.Faults())
	}
	if status, _ := c.control("DELETE", "faults", ""); status != 200 || len(c.Faults()) != 0 {
		t.Errorf("clear faults: %d, then %+v", status, c.Faults())
	}
	if status, body := c.control("POST", "reset", ""); status != 200 {
		t.Errorf("reset: %d %s", status, body)
	}
	if s := c.State(); len(s.Volumes) != 0 || len(s.Instances) != 2 || len(c.Calls()) != 0 {
		t.Errorf("after reset: %+v, calls %+v", s, c.Calls())
	}
}

func TestReset_takesDevicesAndTokens(t *testing.T) {
	tree := newDisks()
	c := start(t, emulator.Options{Storage: tree})
	token := func(in *create) { in.ClientToken = aws.String("one") }
	id := c.createVolume(token)
	if err := c.attach(id, c.Instances()[0].ID, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	c.createSnapshot(id)
	if err := c.Reset(c.ctx); err != nil {
		t.Fatal(err)
	}
	if tree.has(id) || len(c.State().Snapshots) != 0 {
		t.Error("a device or a snapshot is left")
	}
	if again := c.createVolume(token); again == id {
		t.Error("the token is left")
	}
}

func TestServer_stateSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	open := func() (*cloud, *disks) {
		tree := newDisks()
		return start(t, emulator.Options{StateDir: dir, Profile: emulator.Reference, Storage: tree}), tree
	}
	c, _ := open()
	token := func(in *create) { in.ClientToken = aws.String("one") }
	instance, id := c.Instances()[0], c.createVolume(token)
	attaching := c.createVolume()
	c.advance(2 * time.Second)
	if err := c.attach(id, instance.ID, "/dev/xvdba"); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * time.Second)
	snapshot := c.createSnapshot(id)
	if err := c.modify(id, size(20)); err != nil {
		t.Fatal(err)
	}
	if err := c.attach(attaching, instance.ID, "/dev/xvdbb"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	before := c.Now()

	c, tree := open()
	if c.Now().Before(before) {
		t.Errorf("time runs back from %s to %s", before, c.Now())
	}
	if got := c.Instances(); len(got) != 2 || got[0].ID != instance.ID || got[0].IMDS != instance.IMDS {
		t.Errorf("instances %+v, want those of before", got)
	}
	if !tree.has(id) || tree.has(attaching) {
		t.Error("attached devices must be back, attaching ones must not")
	}
	if again := c.createVolume(token); again != id {
		t.Errorf("the token made %s after the restart", again)
	}
	if other := c.createVolume(); other == id || other == attaching {
		t.Error("an id came twice")
	}
	c.advance(3 * time.Second)
	if !tree.has(attaching) || *c.volume(id).Size != 20 || c.snapshot(snapshot).State != "completed" {
		t.Error("what was under way did not go on")
	}
	if len(c.State().Snapshots) != 1 {
		t.Errorf("snapshots %+v", c.State().Snapshots)
	}
}

// A kill leaves a line half written, and records of what was never answered.
func TestServer_startsOnWhatAKillLeaves(t *testing.T) {
	dir := t.TempDir()
	c := start(t, emulator.Options{StateDir: dir})
	id := c.createVolume()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(dir, "state", "journal.jsonl")
	text, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	begun := `{"ID":"vol-0123456789abcdef0","Zone":"us-east-1a","State":"creating","SizeGiB":1,"Type":"gp3","Token":"CreateVolume:t"}`
	text = append(text, `[{"kind":"volumes","id":"vol-0123456789abcdef0","record":`+begun+"}]\n"+`[{"kind":"volumes","id":"`+id+`"`...)
	if err := os.WriteFile(journal, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c = start(t, emulator.Options{StateDir: dir})
	if s := c.State().Volumes; len(s) != 1 || s[0].ID != id || s[0].State != "available" {
		t.Errorf("volumes %+v", s)
	}
	c.createVolume(func(in *create) { in.ClientToken = aws.String("t") })
}

func TestStart_refusesBrokenState(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "state", "journal.jsonl")
	if err := os.WriteFile(broken, []byte("not JSON\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := emulator.Start(quiet(t), emulator.Options{StateDir: dir}); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("error %v, want one that names %s", err, broken)
	}
	if text, err := os.ReadFile(broken); err != nil || string(text) != "not JSON\n" {
		t.Errorf("the file is now %q (%v)", text, err)
	}
}

func TestOptions_Check(t *testing.T) {
	for want, o := range map[string]emulator.Options{
		"--profile":       {Profile: "slow"},
		"--instances":     {Instances: -1},
		"--zones":         {Zones: []string{"eu-west-1a"}},
		"--instance-type": {InstanceType: "x"},
		"--listen":        {Listen: "nowhere"},
		"--attach-limit":  {AttachLimit: -1},
		"consistency":     {Window: 3 * time.Second},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not name it", want, err)
		}
	}
	if err := (emulator.Options{}).Check(); err != nil {
		t.Error(err)
	}
}

// Two emulators in one process share nothing, and Close waits for all that Start began.
func TestServer_closeEndsHeldCalls(t *testing.T) {
	c := start(t, emulator.Options{Clock: clock.New()})
	c.fault(emulator.Fault{Operation: "DescribeVolumes", Effect: "hold-before"})
	result := make(chan error, 1)
	go func() {
		_, err := c.volumesBy()
		result <- err
	}()
	if err := c.WaitHeld(c.ctx, "DescribeVolumes"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("a held call succeeded")
	}
	resp, err := http.Get(c.Endpoint() + "/_emulator/calls")
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		t.Errorf("a closed emulator answers %d (%v)", resp.StatusCode, resp.Body.Close())
	}
}

// The emulator must not share a bug with what it tests, so it shares no code with it.
func TestDependencies(t *testing.T) {
	const module, own = "github.com/diskbridge/diskbridge/", "github.com/diskbridge/diskbridge/pkg/emulator"
	allowed := map[string]string{
		"github.com/aws/aws-sdk-go-v2": "signing again, to check signatures; its services are only for tests",
		"github.com/aws/smithy-go":     "what the signer needs",
		"k8s.io/klog/v2":               "the log",
		"github.com/go-logr/logr":      "what klog needs",
		"golang.org/x/sys":             "loop devices",
	}
	roots, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedModule}, own+"/...")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	packages.Visit(roots, nil, func(p *packages.Package) {
		seen++
		if strings.HasPrefix(p.PkgPath, module) && !strings.HasPrefix(p.PkgPath, own) {
			t.Errorf("%s is reached: the emulator imports nothing of ours but itself", p.PkgPath)
		}
		if p.Module != nil && !p.Module.Main && allowed[p.Module.Path] == "" {
			t.Errorf("%s is reached: module %s is not among those that the emulator may use", p.PkgPath, p.Module.Path)
		}
		if strings.HasPrefix(p.PkgPath, "github.com/aws/aws-sdk-go-v2/service/") {
			t.Errorf("%s is reached: the emulator must not read the wire with the code that writes it", p.PkgPath)
		}
	})
	if seen < 50 {
		t.Errorf("only %d packages were seen", seen)
	}
}

func TestServer_ClosesAtOnceBesideAnUnusedConnection(t *testing.T) {
	s, err := emulator.Start(t.Context(), emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.Endpoint(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// An answered request on a second connection proves that the first was accepted.
	if resp, err := http.Get(s.Endpoint() + "/_emulator/calls"); err != nil {
		t.Fatal(err)
	} else if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(4 * time.Second):
		t.Errorf("Close waits for a connection on which nothing was asked: %v", <-closed)
	}
}
