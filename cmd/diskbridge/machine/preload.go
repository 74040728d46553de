package machine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

//go:embed preload/xstate.c
var xstateSource []byte

// preload returns what has to be loaded before User Mode Linux so that it runs on this processor: nothing, or a library that
// it compiles beside console. See preload/xstate.c.
func preload(ctx context.Context, console string) ([]string, error) {
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !strings.Contains(string(cpus), " amx_tile") {
		return nil, err
	}
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return nil, errors.New("gcc is missing: apt-get install gcc libc6-dev; on a processor with AMX, User Mode Linux needs a small library that is compiled for it")
	}
	source, library := console+".c", console+".so"
	if err := os.WriteFile(source, xstateSource, 0o600); err != nil {
		return nil, err
	}
	if text, err := exec.CommandContext(ctx, compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the library for User Mode Linux on AMX: %w\n%s", err, text)
	}
	return []string{"LD_PRELOAD=" + library}, nil
}
