package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/cmd/diskbridge/sandbox"
)

// boshDirector is the UUID of the Director that the demo plays.
const boshDirector = "demo-director"

const byBOSH = "written by BOSH\n"

// bosh plays the other half: a disk that BOSH makes, uses and resizes goes to Kubernetes with its data, and back.
func (s *scene) bosh(ctx context.Context) error {
	s.section("A disk of BOSH, handed to Kubernetes and back")
	if err := s.writeCPIConfig(); err != nil {
		return err
	}
	d := &disk{name: "bosh", kind: "ext4", dir: filepath.Join(s.dir, "bosh")}
	here := s.nodes[0]
	steps := []func() error{
		func() error {
			return s.cpi(ctx, "create_disk of 1 GiB", &d.id, "create_disk", 1024, map[string]any{"type": "gp3"}, here.id)
		},
		func() error { return s.cpi(ctx, "attach_disk to "+here.id, nil, "attach_disk", here.id, d.id) },
	}
	if s.options.Root {
		steps = append(steps, func() error { return s.agent(ctx, d) })
	}
	steps = append(steps,
		func() error { return s.cpi(ctx, "detach_disk", nil, "detach_disk", here.id, d.id) },
		func() error { return s.cpi(ctx, "resize_disk to 2 GiB, in place", nil, "resize_disk", d.id, 2048) },
		func() error { return s.refused(ctx, d, here) },
		func() error { return s.hand(ctx, "release", d.id) },
	)
	if s.options.Root {
		steps = append(steps,
			func() error { return os.MkdirAll(d.dir, 0o750) },
			func() error { return s.use(ctx, d, here) },
			func() error { return s.read(ctx, d, "before", byBOSH) },
			func() error { return s.grown(ctx, d) },
			func() error { return s.release(ctx, d) },
		)
	}
	return inOrder(append(steps,
		func() error { return s.hand(ctx, "adopt", d.id, "--holder=bosh:"+boshDirector) },
		func() error { return s.cpi(ctx, "delete_disk", nil, "delete_disk", d.id) },
	)...)
}

// refused proves that Kubernetes does not get a disk that BOSH holds.
func (s *scene) refused(ctx context.Context, d *disk, n *node) error {
	return s.step(ctx, "let Kubernetes ask for it", func(ctx context.Context) (string, error) {
		quiet := *s
		quiet.w = &bytes.Buffer{}
		err := quiet.attach(ctx, d, n)
		d.attachedTo = nil
		if err == nil {
			return "", errors.New("it was attached although BOSH holds it")
		}
		if !strings.Contains(err.Error(), "held by bosh:") {
			return "", err
		}
		return "refused: BOSH holds it", nil
	})
}

func (s *scene) cpiConfig() string { return filepath.Join(s.dir, "cpi.json") }

// writeCPIConfig writes the file that the AWS CPI's job renders.
func (s *scene) writeCPIConfig() error {
	text, err := json.Marshal(map[string]any{"cloud": map[string]any{"plugin": "aws", "properties": map[string]any{"aws": map[string]any{
		"access_key_id": "test", "secret_access_key": "test", "region": sandbox.Region, "ec2_endpoint": s.emulator.Endpoint,
	}}}})
	if err != nil {
		return err
	}
	return os.WriteFile(s.cpiConfig(), text, 0o600)
}

// cpi calls a method as the Director does: one process, one request. id gets the string that it answers, if it is not nil.
func (s *scene) cpi(ctx context.Context, what string, id *string, method string, arguments ...any) error {
	return s.step(ctx, what, func(ctx context.Context) (string, error) {
		request, err := json.Marshal(map[string]any{"method": method, "arguments": arguments, "api_version": 2, "context": map[string]any{"director_uuid": boshDirector}})
		if err != nil {
			return "", err
		}
		out, err := s.child(ctx, string(request), s.options.Bin+"/diskbridge-cpi", "-config", s.cpiConfig())
		if err != nil {
			return "", err
		}
		var answer struct {
			Result any
			Error  *struct{ Type, Message string }
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			return "", fmt.Errorf("%w: %.200s", err, out)
		}
		if answer.Error != nil {
			return "", fmt.Errorf("%s: %s", answer.Error.Type, answer.Error.Message)
		}
		text, _ := answer.Result.(string)
		if id != nil {
			*id = text
		}
		return text, nil
	})
}

// hand runs one of the operator's commands.
func (s *scene) hand(ctx context.Context, command string, args ...string) error {
	return s.step(ctx, "diskbridge "+command, func(ctx context.Context) (string, error) {
		out, err := s.child(ctx, "", s.options.Bin+"/diskbridge", append([]string{command}, args...)...)
		return strings.TrimSpace(out), err
	})
}

// agent does with a new disk what BOSH's agent does: one partition, a file system in it; then a job writes.
func (s *scene) agent(ctx context.Context, d *disk) error {
	device := filepath.Join(s.emulator.Instances[0].DeviceRoot, "disk/by-id/nvme-Amazon_Elastic_Block_Store_"+strings.ReplaceAll(d.id, "-", ""))
	return s.step(ctx, "partition, format and write, as BOSH's agent", func(ctx context.Context) (string, error) {
		device, err := filepath.EvalSymlinks(device)
		if err != nil {
			return "", err
		}
		if _, err := s.child(ctx, "label: gpt\nstart=1MiB, name=bosh-partition-0\n", "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", device); err != nil {
			return "", err
		}
		if _, err := s.child(ctx, "", "partx", "--add", device); err != nil {
			return "", err
		}
		part, store := device+"p1", filepath.Join(s.dir, "store")
		err = poll(ctx, func() (bool, error) { _, err := os.Stat(part); return err == nil, nil })
		if err != nil {
			return "", fmt.Errorf("wait for %s: %w", part, err)
		}
		if _, err := s.child(ctx, "", "mkfs.ext4", "-q", part); err != nil {
			return "", err
		}
		if err := os.MkdirAll(store, 0o700); err != nil {
			return "", err
		}
		if err := unix.Mount(part, store, "ext4", 0, ""); err != nil {
			return "", fmt.Errorf("mount %s: %w", part, err)
		}
		return "", errors.Join(os.WriteFile(filepath.Join(store, "before"), []byte(byBOSH), 0o600), unix.Unmount(store, 0))
	})
}

// child runs a program to its end, with the demo's environment and the emulator's cloud, and returns its output.
func (s *scene) child(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	if cmd.Err != nil { // tools of the system's administrator
		cmd = exec.CommandContext(ctx, "/usr/sbin/"+name, args...)
	}
	cmd.Env = append(s.baseEnv(), s.emulator.CloudEnv()...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(log.String()))
	}
	return out.String(), nil
}
