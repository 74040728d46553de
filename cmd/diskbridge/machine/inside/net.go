package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// gateway is what the other end of every link is called; it is reachable only over that link.
const gateway = "169.254.0.1"

// Home is this network's own address, from which it reaches the others.
const Home = "10.255.0.1"

// Network makes this network ready for others: they are reached from Home, and reach each other through here.
func Network(ctx context.Context) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	return Run(ctx, "ip", "address", "add", Home+"/32", "dev", "lo")
}

// Link connects the network namespace of a process with this one, under some IPv4 addresses.
func Link(ctx context.Context, pid int, addresses ...string) error {
	name, process := linkName(pid), strconv.Itoa(pid)
	steps := [][]string{
		{"ip", "link", "add", name, "type", "veth", "peer", "name", "e0", "netns", process},
		{"ip", "address", "add", gateway + "/32", "dev", name},
		{"ip", "link", "set", name, "up"},
	}
	in := []string{"nsenter", "--target=" + process, "--net", "ip"}
	enter := func(args ...string) { steps = append(steps, append(in[:len(in):len(in)], args...)) }
	enter("link", "set", "lo", "up")
	enter("link", "set", "e0", "up")
	enter("route", "add", gateway, "dev", "e0", "scope", "link")
	for _, address := range addresses {
		enter("address", "add", address+"/32", "dev", "e0")
		steps = append(steps, []string{"ip", "route", "add", address, "dev", name, "src", Home})
	}
	enter("route", "add", "default", "via", gateway, "dev", "e0")
	for _, step := range steps {
		if err := Run(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// Own gives a host all addresses of a network, such as 172.31.0.0/16.
func (h *Host) Own(ctx context.Context, network string) error {
	in := h.Command("ip", "address", "add", network, "dev", "lo")
	return errors.Join(Run(ctx, in[0], in[1:]...), Run(ctx, "ip", "route", "add", network, "dev", linkName(h.PID()), "src", Home))
}

// Cut makes the link to a process's network swallow all that is sent; Mend undoes it.
func Cut(ctx context.Context, pid int) error {
	return Run(ctx, "nsenter", "--target="+strconv.Itoa(pid), "--net", "ip", "link", "set", "e0", "down")
}

// Mend undoes Cut.
func Mend(ctx context.Context, pid int) error {
	in := []string{"--target=" + strconv.Itoa(pid), "--net", "ip"}
	for _, args := range [][]string{
		{"link", "set", "e0", "up"}, {"route", "add", gateway, "dev", "e0", "scope", "link"}, {"route", "add", "default", "via", gateway, "dev", "e0"},
	} {
		if err := Run(ctx, "nsenter", append(in[:len(in):len(in)], args...)...); err != nil {
			return err
		}
	}
	return nil
}

func linkName(pid int) string { return "v" + strconv.Itoa(pid) }

// Run runs a program; the error tells what it said.
func Run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
