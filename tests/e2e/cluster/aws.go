package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Emulator asks this cluster's emulator as [Emulator] does.
func (c *Cluster) Emulator(ctx context.Context, method, path, body string, out any) error {
	return ask(ctx, c.AWS(), method, path, body, out)
}

// AWS is the emulator's endpoint as this process reaches it.
func (c *Cluster) AWS() string { return "http://127.0.0.1:" + c.at.aws }

func ask(ctx context.Context, endpoint, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, endpoint+"/_emulator/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
