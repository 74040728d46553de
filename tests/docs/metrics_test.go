package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v2"

	"github.com/diskbridge/diskbridge/pkg/observe"
	"github.com/diskbridge/diskbridge/tests/harness"
)

// metricsPage is what is declared.
func metricsPage(*testing.T) string {
	page := "# Metrics\n\nWhat `/metrics` answers on `--http-endpoint`, beside the usual `go_*` and `process_*`. A controller shows the pending\n" +
		"detachments, a node its attachments. No label names a volume, a claim or a node. Ready to use:\n" +
		"[dashboard](../../deploy/grafana/diskbridge.json), [alert rules](../../deploy/prometheus/alerts.yaml).\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n"
	for _, m := range observe.Declared() {
		page += row(code(m.Name), m.Type, code(m.Labels...), m.Help)
	}
	return page
}

// TestMetrics_FollowThePrometheusConventions: https://prometheus.io/docs/practices/naming/
func TestMetrics_FollowThePrometheusConventions(t *testing.T) {
	units := regexp.MustCompile(`_(seconds|bytes|keys|volumes|detaches|unbounded)(_total)?$`) // the last is a state, 0 or 1
	for _, m := range observe.Declared() {
		if !regexp.MustCompile(`^diskbridge(_[a-z]+)+$`).MatchString(m.Name) || m.Help == "" {
			t.Errorf("%q (%s) is no name, or has no help", m.Name, m.Help)
		}
		if counter := strings.HasSuffix(m.Name, "_total"); counter != (m.Type == "counter") {
			t.Errorf("%s is a %s", m.Name, m.Type)
		}
		if m.Type != "counter" && !units.MatchString(m.Name) {
			t.Errorf("%s does not end in its unit", m.Name)
		}
		for _, l := range m.Labels {
			if !slices.Contains([]string{"driver", "method", "code", "service", "operation", "outcome", "batch", "reason"}, l) {
				t.Errorf("%s: label %s has too many values, or is new: then add it here", m.Name, l)
			}
		}
	}
}

func TestDashboard_ShowsWhatExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "grafana", "diskbridge.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID          int
			Title, Type string
			Targets     []struct{ Expr string }
			GridPos     struct{ X, Y, W, H int }
			Description string
			FieldConfig struct{ Defaults struct{ Unit string } }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, shown := map[int]bool{}, map[string]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d is used twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q lacks a query, a description, a unit or its place", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range check(t, p.Title, target.Expr) {
				shown[name] = true
			}
		}
	}
	for _, m := range observe.Declared() {
		if !shown[m.Name] {
			t.Errorf("no panel shows %s", m.Name)
		}
	}
}

func TestAlerts_WatchWhatExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			rules++
			check(t, rule.Alert, rule.Expr)
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %q lacks a severity, a summary or a description", rule.Alert)
			}
		}
	}
	if rules < 5 {
		t.Errorf("only %d rules", rules)
	}
}

func TestCheck_CanFail(t *testing.T) {
	for _, expr := range []string{
		`rate(diskbridge_nonsense_total[5m])`,
		`diskbridge_aws_request_duration_seconds`,
		`rate(diskbridge_pending_detaches_count[5m])`,
		`sum by (volume) (diskbridge_pending_detaches)`,
		`diskbridge_pending_detaches{method="X"}`,
		`rate(diskbridge_pending_detaches[5m])`,
		`sum(up`,
		`1 > 0`,
	} {
		if _, err := metricsOf(expr); err == nil {
			t.Errorf("%s passes", expr)
		}
	}
}

func check(t *testing.T, where, expr string) []string {
	t.Helper()
	names, err := metricsOf(expr)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expr)
	}
	return names
}

var (
	metricName = regexp.MustCompile(`(rate|increase)?\(?\b((?:diskbridge|process|go)_[a-z_]+)(?:\{([^}]*)\})?(\[)?`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"[^"]*"`)
)

// metricsOf returns the declared metrics that a query names. It knows as much of PromQL as our queries use.
func metricsOf(expr string) (names []string, err error) {
	if strings.Count(expr, "(") != strings.Count(expr, ")") {
		return nil, fmt.Errorf("its brackets do not match")
	}
	labels := []string{"le", "job", "instance"}
	for _, m := range metricName.FindAllStringSubmatch(expr, -1) {
		rate, name, matchers, isRange := m[1] != "", m[2], m[3], m[4] != ""
		if !strings.HasPrefix(name, "diskbridge_") {
			names = append(names, name)
			continue
		}
		declared, counts, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("there is no metric %s", name)
		}
		if rate != isRange || rate != counts {
			return nil, fmt.Errorf("%s must be read with rate or increase if it counts, and only then", name)
		}
		labels = append(labels, declared.Labels...)
		for _, l := range matcher.FindAllStringSubmatch(matchers, -1) {
			if !slices.Contains(append(declared.Labels, "le", "job", "instance"), l[1]) {
				return nil, fmt.Errorf("%s has no label %s", name, l[1])
			}
		}
		names = append(names, declared.Name)
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(g[1], ",") {
			if !slices.Contains(labels, strings.TrimSpace(l)) {
				return nil, fmt.Errorf("nothing there has label %s", strings.TrimSpace(l))
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no metric is named")
	}
	return names, nil
}

// find returns the declaration of a series' name, and whether the series only ever counts up.
func find(series string) (m observe.Metric, counts, ok bool) {
	for _, m := range observe.Declared() {
		if m.Type != "histogram" && m.Name == series {
			return m, m.Type == "counter", true
		}
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if m.Type == "histogram" && m.Name+suffix == series {
				return m, true, true
			}
		}
	}
	return observe.Metric{}, false, false
}
