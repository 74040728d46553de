package inside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// gateway is what the other end of every link is called; it is reachable only over that link.
const gateway = "169.254.0.1"

// Network lets the networks that are linked with this one reach each other.
func Network() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }

// Link connects the network namespace of a process with this one, under some IPv4 addresses.
func Link(ctx context.Context, pid int, addresses ...string) error {
	name := linkName(pid)
	here := []string{
		fmt.Sprintf("link add %s type veth peer name e0 netns %d", name, pid), "address add " + gateway + "/32 dev " + name, "link set " + name + " up",
	}
	there := append([]string{"link set lo up"}, linkUp()...)
	for _, address := range addresses {
		here, there = append(here, routeTo(pid, address)), append(there, own(address))
	}
	return errors.Join(configure(ctx, 0, here...), configure(ctx, pid, there...))
}

// Configurations, in the words of ip(8).
func own(address string) string { return "address replace " + address + "/32 dev e0" }
func routeTo(pid int, address string) string {
	return "route replace " + address + " dev " + linkName(pid)
}
func linkUp() []string {
	return []string{"link set e0 up", "route add " + gateway + " dev e0 scope link", "route add default via " + gateway + " dev e0"}
}

// Add gives the host one more IPv4 address. It may have it already.
func (h *Host) Add(ctx context.Context, address string) error {
	return errors.Join(configure(ctx, h.PID(), own(address)), configure(ctx, 0, routeTo(h.PID(), address)))
}

// Drop takes an address from the host.
func (h *Host) Drop(ctx context.Context, address string) error {
	return errors.Join(configure(ctx, 0, "route delete "+address), configure(ctx, h.PID(), "address delete "+address+"/32 dev e0"))
}

// Cut makes the link to a process's network swallow all that is sent; Mend undoes it.
func Cut(ctx context.Context, pid int) error { return configure(ctx, pid, "link set e0 down") }

// Mend undoes Cut.
func Mend(ctx context.Context, pid int) error { return configure(ctx, pid, linkUp()...) }

// configure changes the network of a process, or this one's if it is 0, with the commands of ip(8).
func configure(ctx context.Context, pid int, commands ...string) error {
	args := []string{"ip", "-batch", "-"}
	if pid != 0 {
		args = append([]string{"nsenter", "--target=" + strconv.Itoa(pid), "--net"}, args...)
	}
	return run(ctx, strings.NewReader(strings.Join(commands, "\n")+"\n"), args[0], args[1:]...)
}

func linkName(pid int) string { return "v" + strconv.Itoa(pid) }

// Run runs a program; the error tells what it said.
func Run(ctx context.Context, name string, args ...string) error { return run(ctx, nil, name, args...) }

func run(ctx context.Context, in io.Reader, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stdin = in
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
