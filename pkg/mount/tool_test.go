package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func there(path string) func() bool {
	return func() bool { _, err := os.Lstat(path); return err == nil }
}

// scripts is a toolbox that has scripts in place of some tools.
func scripts(t *testing.T, byName map[string]string) toolbox {
	t.Helper()
	box := standardTools(blockPackages)
	dir := t.TempDir()
	for name, script := range byName {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	box.dirs = append([]string{dir}, box.dirs...)
	return box
}

// installed is where a tool really is.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := standardTools(blockPackages).find(name)
	must(t, err)
	return path
}

func beginTask(t *testing.T) *task {
	t.Helper()
	k := &keeper{tasks: map[string]*task{}}
	task, err := k.begin(t.Context(), "x")
	must(t, err)
	t.Cleanup(func() {
		task.end()
		must(t, k.drain(context.Background()))
	})
	return task
}

// image is an ext4 in a file that resize2fs has to move blocks and tables of to make it larger.
func image(t *testing.T) string {
	t.Helper()
	path, data := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "data")
	write(t, path, "")
	must(t, os.Truncate(path, 64*mib))
	mounttest.Run(t, "mkfs.ext4", "-q", "-F", "-O", "^resize_inode,^flex_bg", "-b", "1024", path)
	write(t, data, strings.Repeat("0123456789abcdef", 40*mib/16))
	mounttest.Run(t, "debugfs", "-w", "-R", "write "+data+" f", path)
	must(t, os.Truncate(path, 2048*mib))
	return path
}

// TestProgress_OfTheRealTools: what e2fsck and resize2fs say is understood.
func TestProgress_OfTheRealTools(t *testing.T) {
	path := image(t)
	for _, tc := range []struct {
		tool string
		args []string
		want string
	}{
		{"e2fsck", []string{"-f", "-p", path}, "pass 5 of 5, 100%"},
		{"resize2fs", []string{path}, "moving inode table, 100%"},
		{"e2fsck", []string{"-f", "-n", path}, "pass 5 of 5, 100%"},
	} {
		found, err := standardTools("").find(tc.tool)
		must(t, err)
		p := &program{path: found}
		must(t, p.open())
		watch, err := newProgress(tc.tool, p)
		must(t, err)
		p.args = slices.Concat(watch.args, tc.args)
		must(t, p.run(t.Context()))
		eventually(t, tc.tool+" says "+watch.read()+" and never "+tc.want, func() bool { return watch.read() == tc.want })
		watch.close()
		p.close()
	}
}

func TestProgress_OfHalfALine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "1 10 40 /dev/nvme1n1\n": "pass 1 of 5, 25%", "1 10 0 x\n": "", "nonsense": "", "2 50 40 x": "pass 2 of 5, 100%",
	} {
		if got := fsckProgress(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	bar := "Begin pass 2 (max = 9)\nRelocating blocks             " + strings.Repeat("-", 40) + strings.Repeat("\b", 40)
	for text, want := range map[string]string{"": "", "resize2fs 1.47\n": "", bar: "relocating blocks, 0%", bar + "XXXXXXXXXX": "relocating blocks, 25%"} {
		if got := resizeProgress(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestTool_SaysHowFarItIs to the call whose deadline comes, and to the next one, which is answered with the tool's end.
func TestTool_SaysHowFarItIs(t *testing.T) {
	n := mounttest.NewNode(t)
	n.Attach(serial, size)
	b, staging, resume := newBlock(n), n.Mkdir("staging"), filepath.Join(t.TempDir(), "resume")
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
	must(t, b.Unstage(t.Context(), handle, staging))
	b.tools = scripts(t, map[string]string{"e2fsck": "echo 3 42 100 x >&3; while [ ! -e " + resume + " ]; do sleep 0.05; done; exec " + installed(t, "e2fsck") + " \"$@\""})
	var last error
	eventually(t, "progress", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		last = b.Stage(ctx, fresh(volume.Ext4), staging)
		return strings.Contains(fmt.Sprint(last), "pass 3 of 5, 42%")
	})
	wantKind(t, last, fault.Pending, "e2fsck", "retry")
	joined := make(chan error, 1)
	go func() { joined <- b.Stage(t.Context(), fresh(volume.Ext4), staging) }()
	write(t, resume, "")
	must(t, <-joined)
}

// TestTool_WhatKillsIt: a tool that ended by a signal is named as that, with what it means for the volume.
func TestTool_WhatKillsIt(t *testing.T) {
	box := scripts(t, map[string]string{"resize2fs": "echo moving; kill -KILL $$", "e2fsck": "kill -SEGV $$", "mkfs.xfs": "kill -TERM $$"})
	for name, signal := range map[string]string{"resize2fs": "killed", "e2fsck": "segmentation fault", "mkfs.xfs": "terminated"} {
		err := box.write(t.Context(), beginTask(t), name, "/dev/x")
		wantKind(t, err, fault.Unavailable, "killed from outside", signal)
		var tool *ToolError
		if !errors.As(err, &tool) || tool.Tool != name || exitCode(err) != -1 {
			t.Errorf("%#v", tool)
		}
	}
}

// TestBlock_GrowsAnUnmountedExt4ToTheEnd: a call that begins again with the whole check never comes to growing a large disk.
func TestBlock_GrowsAnUnmountedExt4ToTheEnd(t *testing.T) {
	n := mounttest.NewNode(t)
	disk := n.Attach(serial, 128*mib)
	b, resume := newBlock(n), filepath.Join(t.TempDir(), "resume")
	mounttest.Run(t, "mkfs.ext4", "-q", "-b", "4096", disk.Node)
	disk.Grow(size)
	b.tools = scripts(t, map[string]string{"e2fsck": "while [ ! -e " + resume + " ]; do sleep 0.05; done; exec " + installed(t, "e2fsck") + " \"$@\""})
	ctx, cancel := context.WithCancel(t.Context())
	err := b.work(ctx, "grow", handle, func(task *task) error {
		d, err := b.sysfs.wait(ctx, task, serial, 0, b.deviceWait)
		must(t, err)
		go func() {
			defer cancel()
			eventually(t, "e2fsck", func() bool { return strings.Contains(strings.Join(b.keep.writing(), ""), "e2fsck") })
		}()
		return b.growUnmounted(ctx, task, d)
	})
	wantKind(t, err, fault.Pending, "e2fsck has been working")
	write(t, resume, "")
	must(t, b.Drain(t.Context()))
	if out := mounttest.Run(t, "dumpe2fs", "-h", disk.Node); !strings.Contains(out, fmt.Sprintf("Block count:              %d\n", size/4096)) {
		t.Errorf("it has not grown: %s", out)
	}
}

// TestExecute_WhatItLeftBehindKeepsNoAnswer: a process that outlives the program has its output open.
func TestExecute_WhatItLeftBehindKeepsNoAnswer(t *testing.T) {
	stop := filepath.Join(t.TempDir(), "stop")
	t.Cleanup(func() { write(t, stop, "") })
	leave := "(while [ ! -e " + stop + " ]; do sleep 0.05; done) & "
	box := scripts(t, map[string]string{"mkfs.ext4": leave + "exit 0", "blkid": leave + "echo TYPE=ext4", "e2fsck": leave + "echo damaged >&2; exit 4"})
	must(t, box.write(t.Context(), beginTask(t), "mkfs.ext4", "/dev/x"))
	if out, err := box.read(t.Context(), beginTask(t), "blkid"); err != nil || out != "TYPE=ext4\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := box.write(t.Context(), beginTask(t), "e2fsck", "/dev/x"); exitCode(err) != 4 || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	for what, script := range map[string]string{"and ended well": leave + "echo '{\"files\":7}'", "and failed": leave + "echo '{\"files\":7}'; exit 9", "and was killed": "echo '{\"files\":7}'; kill -KILL $$"} {
		c := children{argv: []string{"/bin/sh", "-c", script}}
		if a, err := c.run(t.Context(), t.Context(), beginTask(t), order{Do: "prepare"}); err != nil || a.Files != 7 {
			t.Errorf("a child that answered %s: %+v, %v", what, a, err)
		}
	}
	c := children{argv: []string{"/bin/sh", "-c", "echo '{\"files\":'; exit 9"}}
	if a, err := c.run(t.Context(), t.Context(), beginTask(t), order{Do: "prepare"}); err == nil {
		t.Errorf("half an answer: %+v", a)
	}
}

// pluginMode makes this program stage like a node plugin until it is killed; see plugin.
const pluginMode = "plugin"

// plugin runs what a folder has a script of: e2fsck on the image in it, or mount.nfs4.
func plugin(dir string) int {
	ctx, n := context.Background(), NewNFS(NFSConfig{})
	n.tools = toolbox{dirs: []string{dir}}
	err := n.work(ctx, "work", "x", func(t *task) error {
		if there(filepath.Join(dir, "e2fsck"))() {
			return n.tools.write(ctx, t, "e2fsck", "-f", "-p", filepath.Join(dir, "image"))
		}
		_, err := n.onRoot(ctx, t, volume.NFSPlan{}, nfsSource{host: "127.0.0.1", port: volume.NFSPort}, dir, &order{Create: &volume.Directory{}})
		return err
	})
	_, _ = fmt.Fprintln(os.Stderr, err) // nowhere else to say it
	return 1
}

// TestTool_OutlivesItsPlugin: its output goes where no end of the plugin can end it.
func TestTool_OutlivesItsPlugin(t *testing.T) {
	path := image(t)
	dir := filepath.Dir(path)
	write(t, filepath.Join(dir, "e2fsck"), "")
	script := `#!/bin/sh
cd ` + dir + `; echo $$ >pid; touch begun
while [ ! -e resume ]; do sleep 0.05; done
echo text; echo text >&2; echo 1 1 2 x >&3
` + installed(t, "e2fsck") + ` "$@"
echo $? >done.new; mv done.new done
`
	must(t, errors.Join(os.WriteFile(filepath.Join(dir, "e2fsck"), []byte(script), 0o700), os.Chmod(filepath.Join(dir, "e2fsck"), 0o700)))
	cmd := exec.CommandContext(t.Context(), os.Args[0], pluginMode, dir)
	must(t, cmd.Start())
	eventually(t, "the tool has begun", there(filepath.Join(dir, "begun")))
	must(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
	write(t, filepath.Join(dir, "resume"), "")
	eventually(t, "the tool has ended", there(filepath.Join(dir, "done")))
	if code, err := os.ReadFile(filepath.Join(dir, "done")); err != nil || string(code) != "0\n" {
		t.Errorf("e2fsck ended with %q (%v)", code, err)
	}
}

// TestBlock_WaitsForAToolThatAnEarlierPluginBegan, and never starts a second one on the same disk.
func TestBlock_WaitsForAToolThatAnEarlierPluginBegan(t *testing.T) {
	n := mounttest.NewNode(t)
	disk := n.Attach(serial, size)
	mounttest.Run(t, "mkfs.ext4", "-q", disk.Node)
	var ends [2]int
	must(t, unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	for err := error(nil); err == nil; { // so that e2fsck waits where it says how far it is
		_, err = unix.Write(ends[1], make([]byte, 4096))
	}
	must(t, errors.Join(unix.SetNonblock(ends[0], false), unix.SetNonblock(ends[1], false)))
	full, fill := os.NewFile(uintptr(ends[0]), "full"), os.NewFile(uintptr(ends[1]), "fill")
	cmd := exec.CommandContext(t.Context(), "e2fsck", "-f", "-p", "-C", "3", disk.Node)
	cmd.ExtraFiles = []*os.File{fill}
	must(t, cmd.Start())
	held := func() bool {
		f, err := os.OpenFile(disk.Node, os.O_RDONLY|unix.O_EXCL, 0)
		if err == nil {
			_ = f.Close()
		}
		return errors.Is(err, unix.EBUSY)
	}
	eventually(t, "e2fsck has the disk", held)
	b, second := newBlock(n), filepath.Join(t.TempDir(), "second")
	b.deviceWait = 300 * time.Millisecond
	b.tools = scripts(t, map[string]string{"e2fsck": ": >" + second + "; exec " + installed(t, "e2fsck") + " \"$@\""})
	wantKind(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Mkdir("staging")), fault.Pending, fmt.Sprintf("process %d (e2fsck)", cmd.Process.Pid), "retry")
	if there(second)() {
		t.Error("a second e2fsck was started on the disk")
	}
	must(t, fill.Close())
	go func() { _, _ = io.Copy(io.Discard, full) }()
	must(t, cmd.Wait())
	must(t, full.Close())
	must(t, b.Stage(t.Context(), fresh(volume.Ext4), n.Path("staging")))
}

// TestNFS_PreparingEndsWithItsPlugin: what hangs on a server would keep its namespace for ever.
func TestNFS_PreparingEndsWithItsPlugin(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace needs root")
	}
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	write(t, filepath.Join(dir, "mount.nfs4"), "")
	must(t, errors.Join(os.WriteFile(filepath.Join(dir, "mount.nfs4"), []byte("#!/bin/sh\necho $$ $PPID >"+pids+".new; mv "+pids+".new "+pids+"; while :; do sleep 1; done\n"), 0o700),
		os.Chmod(filepath.Join(dir, "mount.nfs4"), 0o700)))
	cmd := exec.CommandContext(t.Context(), os.Args[0], pluginMode, dir)
	must(t, cmd.Start())
	eventually(t, "mount.nfs4 has begun", there(pids))
	var program, child int
	text, err := os.ReadFile(pids)
	must(t, err)
	_, err = fmt.Sscan(string(text), &program, &child)
	must(t, err)
	must(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
	gone := func(pid int) bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(state), ") Z ") // a zombie: its parent may not wait for it
	}
	eventually(t, "the child and mount.nfs4 end", func() bool { return gone(program) && gone(child) })
}

// prepareWhile has an NFS prepare its root with a mount.nfs4 that waits, and calls fn meanwhile.
func prepareWhile(t *testing.T, point string, fn func()) {
	t.Helper()
	dir := t.TempDir()
	n := NewNFS(NFSConfig{})
	n.tools = tools(t, "mount.nfs4", "touch "+dir+"/begun; while [ ! -e "+dir+"/resume ]; do sleep 0.05; done; exec mount -t tmpfs none \"$2\"")
	done := make(chan error, 1)
	go func() {
		done <- n.work(t.Context(), "prepare", fsID, func(task *task) error {
			d := volume.Directory{Cluster: "c", Name: "n", Path: "/made", OnDelete: volume.Retain, Owner: volume.Owner{Perms: 0o755}}
			_, err := n.onRoot(t.Context(), task, volume.NFSPlan{}, nfsSource{host: "127.0.0.1", port: volume.NFSPort}, point, &order{Create: &d})
			return err
		})
	}()
	eventually(t, "mount.nfs4 has begun", there(dir+"/begun"))
	fn()
	write(t, dir+"/resume", "")
	must(t, <-done)
	if entries, err := os.ReadDir(point); err != nil || len(entries) > 0 {
		t.Errorf("the mount is seen by others: %v (%v)", entries, err)
	}
}

// TestNFS_PreparingKeepsNoDisk: the copies of the node's mounts in the child's namespace hold disks as their originals do.
func TestNFS_PreparingKeepsNoDisk(t *testing.T) {
	for name, propagation := range map[string]uintptr{"below a shared mount, as kubelet's": unix.MS_SHARED, "below a private mount": unix.MS_PRIVATE} {
		t.Run(name, func(t *testing.T) {
			n := mounttest.NewNode(t)
			disk := n.Attach(serial, size)
			b, root := newBlock(n), n.Mkdir("root")
			must(t, unix.Mount(root, root, "", unix.MS_BIND, ""))
			must(t, unix.Mount("", root, "", propagation, ""))
			staging, point := n.Mkdir("root/staging"), n.Mkdir("root/efs")
			must(t, b.Stage(t.Context(), fresh(volume.Ext4), staging))
			prepareWhile(t, point, func() {
				must(t, b.Unstage(t.Context(), handle, staging))
				f, err := os.OpenFile(disk.Node, os.O_RDONLY|unix.O_EXCL, 0)
				if err != nil {
					t.Fatalf("the disk is held: %v", err)
				}
				must(t, f.Close())
			})
		})
	}
}
