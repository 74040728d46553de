// Package scripts runs the binaries as their users do, and every command of the README. It knows only what they print.
package scripts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/diskbridge/diskbridge/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// TestScripts runs the dialogues in testdata, one test each.
func TestScripts(t *testing.T) {
	root, bin := harness.Root(t), harness.Bin(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("BIN", bin)
			env.Setenv("ROOT", root)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return harness.IsRoot(), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "emulator": emulatorFor(t), "fill": fill, "remember": remember},
	})
}

// status runs a command that must end with exactly that exit status: status 2 diskbridge frobnicate.
func status(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("want exit status %d, got %v", want, err)
	}
}

// emulatorFor makes the command that starts an emulator and sets ENDPOINT, VM1 and VM2, and what the operator's own tools
// read: emulator --profile=instant
func emulatorFor(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		e := harness.Emulator(t, harness.Dir(t), append([]string{"--instances=2", "--zones=us-east-1a"}, args...)...)
		ts.Setenv("ENDPOINT", e.Endpoint)
		ts.Setenv("VM1", e.Instances[0].ID)
		ts.Setenv("VM2", e.Instances[1].ID)
		for _, pair := range e.CloudEnv() {
			key, value, _ := strings.Cut(pair, "=")
			ts.Setenv(key, value)
		}
	}
}

// fill replaces ${NAME} in files: fill a.json b.json
func fill(ts *testscript.TestScript, _ bool, files []string) {
	for _, file := range files {
		path := ts.MkAbs(file)
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(text), ts.Getenv)), 0o600))
	}
}

// remember sets a variable to what a pattern finds in the last output: remember DISK vol-[0-9a-f]+
func remember(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: remember NAME PATTERN")
	}
	found := regexp.MustCompile(args[1]).FindString(ts.ReadFile("stdout"))
	if found == "" {
		ts.Fatalf("%s is not in the output", args[1])
	}
	ts.Setenv(args[0], found)
}
