package mounter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Client asks a mounter for things.
type Client struct {
	socket string
	http   http.Client
}

// NewClient makes a client of the mounter on a Unix socket; it connects when it is used.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true, // calls are rare, and the mounter may be another by the next
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	return c
}

// Open is [Tunnels.Open] of the mounter.
func (c *Client) Open(ctx context.Context, t volume.Tunnel, holder string) (uint16, error) {
	var out opened
	err := c.call(ctx, http.MethodPut, "/tunnels/"+t.FileSystem, holding{t, holder}, &out)
	return out.Port, err
}

// Close is [Tunnels.Release] of the mounter.
func (c *Client) Close(ctx context.Context, fileSystem, holder string) error {
	return c.call(ctx, http.MethodDelete, "/tunnels/"+fileSystem, holding{Holder: holder}, &opened{})
}

// Failure is [Tunnels.Failure] of the mounter, or why that cannot be asked.
func (c *Client) Failure(ctx context.Context, fileSystem string) error {
	var out tunnelState
	err := c.call(ctx, http.MethodGet, "/tunnels/"+fileSystem, struct{}{}, &out)
	if err == nil && out.Failure != nil {
		err = fault.New(out.Failure.Kind, "use tunnel", fileSystem, "%s", out.Failure.Message)
	}
	return err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://mounter"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return &fault.Error{Op: "ask the mounter", Subject: c.socket, Kind: fault.Unavailable,
			Message: "it does not answer; `diskbridge-csi mounter` must run on this node with that --socket", Err: err}
	}
	defer func() { _ = response.Body.Close() }() // all that matters was read
	if response.StatusCode == http.StatusOK {
		return json.NewDecoder(response.Body).Decode(out)
	}
	var f failure
	if err := json.NewDecoder(response.Body).Decode(&f); err != nil {
		return fmt.Errorf("the mounter answers %s: %w", response.Status, err)
	}
	return fault.New(f.Kind, "ask the mounter", "", "%s", f.Message)
}
