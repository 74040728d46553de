package director

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

//go:embed external_cpi.rb
var externalCPI string

// callByLibrary is Call by the Director's own code.
func (d *Director) callByLibrary(ctx context.Context, method string, arguments ...any) (json.RawMessage, error) {
	request := map[string]any{"exec": d.Exec, "uuid": d.UUID, "method": method, "arguments": append([]any{}, arguments...), "properties": d.Properties}
	if d.Stemcell > 0 {
		request["stemcell"] = d.Stemcell
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "ruby", "-e", externalCPI)
	cmd.Env = append(os.Environ(), "BOSH_DIRECTOR_LIB="+d.Library, "TMPDIR="+d.Home, "HOME="+d.Home)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the Director's library: %w\n%s", err, stderr.String())
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Type, Message string
			OKToRetry     bool `json:"ok_to_retry"`
		} `json:"error"`
		Log string `json:"log"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("the Director's library printed %.200s: %w", stdout.String(), err)
	}
	d.Log = append(d.Log, answer.Log)
	if answer.Error != nil {
		return nil, &Failure{answer.Error.Type, answer.Error.Message, answer.Error.OKToRetry}
	}
	return answer.Result, nil
}
