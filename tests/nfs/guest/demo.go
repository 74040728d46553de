package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// demo proves that the demo plays on a kernel that has NFS, and leaves nothing.
func demo(ctx context.Context, _ *world) error {
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	var said strings.Builder
	p := program("diskbridge", "demo", "--only=efs")
	p.Env, p.Stdout, p.Stderr = append(p.Env, "TMPDIR="+dir), &said, &said
	if err := p.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Process.Kill() })
	defer stop()
	if err := p.Wait(); err != nil || !strings.Contains(said.String(), "on this machine's kernel") || !strings.Contains(said.String(), "All of it happened") {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return os.Remove(dir) // it is empty
}
