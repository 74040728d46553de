package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// CLI calls one CPI.
type CLI struct {
	Exec string   // bin/cpi of the one job that has it
	Env  []string // the user's whole environment, which reaches the CPI
	UUID string   // of the director that is being made

	Methods []string // in order, info left out
}

// Failure is an error that the CPI answered.
type Failure struct{ Type, Message string }

// Error implements error.
func (f *Failure) Error() string { return f.Type + ": " + f.Message }

// Call asks for info with version 1 and then for the method with at most 2. An exit status that is not 0 is a failure
// even beside a good answer.
func (c *CLI) Call(ctx context.Context, method string, arguments ...any) (json.RawMessage, error) {
	text, err := c.run(ctx, "info", 1, []any{})
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	var info struct {
		APIVersion int       `json:"api_version"`
		Formats    *[]string `json:"stemcell_formats"`
	}
	if err := json.Unmarshal(text, &info); err != nil || info.Formats == nil {
		return nil, fmt.Errorf("info answered %s: stemcell_formats is no array", text)
	}
	c.Methods = append(c.Methods, method)
	return c.run(ctx, method, min(max(info.APIVersion, 1), 2), arguments)
}

func (c *CLI) run(ctx context.Context, method string, version int, arguments []any) (json.RawMessage, error) {
	text, err := json.Marshal(map[string]any{
		"method": method, "arguments": arguments, "api_version": version,
		"context": map[string]any{"director_uuid": c.UUID, "vm": map[string]any{"stemcell": map[string]any{"api_version": 3}}},
	})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.Exec)
	cmd.Env = append(append(os.Environ(), c.Env...), "BOSH_PACKAGES_DIR=/nowhere/packages", "BOSH_JOBS_DIR=/nowhere/jobs")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", method, err, stdout.String(), stderr.String())
	}
	var answer struct {
		Result json.RawMessage
		Error  *Failure
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", method, err, stdout.String())
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return answer.Result, nil
}
