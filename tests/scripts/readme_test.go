package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/tests/harness"
)

// TestREADME_CommandsWork runs the commands in README.md's shell blocks. A new one needs a line in ways.
func TestREADME_CommandsWork(t *testing.T) {
	ways := map[string]func(t *testing.T){
		"make demo": makeDemo,
		"make test": func(*testing.T) {}, // .ci/run reads this very line and runs it, which runs us
	}
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := commands(string(text))
	for _, command := range found {
		run, ok := ways[command]
		if !ok {
			t.Errorf("README.md has the command %q, which no test runs", command)
			continue
		}
		t.Run(command, run)
	}
	for command := range ways {
		if !slices.Contains(found, command) {
			t.Errorf("README.md does not have the command %q", command)
		}
	}
}

// commands returns the lines of all ```sh blocks without their comments.
func commands(markdown string) []string {
	var found []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(markdown, -1) {
		for line := range strings.Lines(block[1]) {
			command, _, _ := strings.Cut(line, "#")
			if command = strings.TrimSpace(command); command != "" {
				found = append(found, command)
			}
		}
	}
	return found
}

func makeDemo(t *testing.T) {
	dir := harness.Dir(t)
	cmd := exec.CommandContext(t.Context(), "make", "demo")
	cmd.Dir = harness.Root(t)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make demo: %v\n%s", err, out)
	}
	want := []string{"A file system: ext4", "A file system: xfs", "A file system: btrfs", "A raw block device", "A disk of BOSH", "refused: BOSH holds it", "Nothing is left", "All of it happened"}
	if !harness.IsRoot() {
		want = []string{"left out, for they need root", "A disk of BOSH", "All of it happened"}
	}
	for _, text := range append(want, `"written by node 2"`) {
		if !strings.Contains(string(out), text) {
			t.Errorf("make demo did not say %q:\n%s", text, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("make demo left %v (%v)", left, err)
	}
}

// TestDocs_LinksLead follows every relative link of every page.
func TestDocs_LinksLead(t *testing.T) {
	root := harness.Root(t)
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "manifests/*.md"} {
		more, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
			}
		}
	}
	if len(pages) < 8 {
		t.Errorf("only %d pages were looked at", len(pages))
	}
}
