package config_test

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/backend"
	"github.com/diskbridge/diskbridge/pkg/config"
)

var known = backend.Registry{{Name: "ebs", Driver: "ebs.csi.diskbridge.io"}, {Name: "s3", Driver: "s3.csi.diskbridge.io"}}

func parse(t *testing.T, mode config.Mode, args ...string) (*config.Settings, error) {
	t.Helper()
	s := &config.Settings{Mode: mode, ClusterID: config.Standalone}
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s.Flags(fs, known)
	s.ClusterID = config.Standalone
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s, s.Validate(known)
}

func TestSettings_Defaults(t *testing.T) {
	s, err := parse(t, config.ModeAll)
	if err != nil || len(s.Kinds) != 2 || s.Kinds[0].Driver != "ebs.csi.diskbridge.io" {
		t.Errorf("Kinds %v, %v", s.Kinds, err)
	}
}

func TestSettings_ParsesListsAndNames(t *testing.T) {
	s, err := parse(t, config.ModeController, "--backends=ebs", "--driver-names=ebs=ebs.csi.aws.com", "--tags=team=storage,cost=7")
	if err != nil || len(s.Kinds) != 1 || s.Kinds[0].Driver != "ebs.csi.aws.com" || s.OwnerTags["team"] != "storage" || s.OwnerTags["cost"] != "7" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSettings_KubeletSeesTheSameFolderUnlessToldOtherwise(t *testing.T) {
	for want, args := range map[string][]string{
		"":      {"--socket-dir=/csi"},
		"/csi":  {"--socket-dir=/csi", "--kubelet-registration-dir=/registration"},
		"/host": {"--socket-dir=/csi", "--kubelet-registration-dir=/registration", "--kubelet-socket-dir=/host"},
	} {
		if s, err := parse(t, config.ModeNode, args...); err != nil || s.KubeletSocketDir != want {
			t.Errorf("%v: kubelet sees %q, %v; want %q", args, s.KubeletSocketDir, err, want)
		}
	}
	if _, err := parse(t, config.ModeNode, "--kubelet-registration-dir=/r", "--kubelet-socket-dir=host"); err == nil || !strings.HasPrefix(err.Error(), "--kubelet-socket-dir:") {
		t.Errorf("a relative folder: %v", err)
	}
}

func TestSettings_TheErrorNamesTheFlag(t *testing.T) {
	for arg, want := range map[string]string{
		"--backends=efs":               `--backends: "efs" is not one of ebs, s3`,
		"--backends=,":                 "--backends: give at least one",
		"--backends=ebs,ebs":           "given twice",
		"--driver-names=nfs=x":         `--driver-names: "nfs=x" is not KIND=NAME`,
		"--driver-names=ebs=-bad":      `--driver-names: "-bad" is not a driver name`,
		"--cluster-id=with space":      "--cluster-id:",
		"--tags=novalue":               `--tags: "novalue" is not k=v`,
		"--socket-dir=relative":        "--socket-dir:",
		"--http-endpoint=nonsense":     "--http-endpoint:",
		"--device-root=dev":            "--device-root:",
		"--path-root=kubelet":          "--path-root:",
		"--volume-attach-limit=500":    "--volume-attach-limit:",
		"--evict-lost-mounts":          "--evict-lost-mounts: it needs --mounter-socket and --node-name",
		"--instance-type=large":        `--instance-type: "large" is not an instance type`,
		"--default-fstype=ntfs":        `--default-fstype: "ntfs" is not one of ext4, xfs, btrfs`,
		"--absence-interval=-1s":       "--absence-interval:",
		"--kubelet-socket-dir=/var/k":  "--kubelet-socket-dir: it has no meaning without --kubelet-registration-dir",
		"--kubelet-registration-dir=k": `--kubelet-registration-dir: "k" is not an absolute path`,
		"--otlp-endpoint=http://a:1/x": "--otlp-endpoint:",
	} {
		if _, err := parse(t, config.ModeAll, arg); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", arg, err, want)
		}
	}
}
