package mount

import (
	"strings"
	"testing"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/mount/mounttest"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// optionValues are options of each allow-list, several values of each. Those after a ? depend on the kernel, or on what the
// file system was made with.
var optionValues = map[string]string{
	"": "defaults ro rw noatime relatime strictatime nodiratime lazytime nosuid nodev noexec sync dirsync discard nodiscard " +
		`?context="system_u:object_r:container_file_t:s0:c1,c2"`,
	volume.Ext4: "acl ?noacl user_xattr ?nouser_xattr journal_checksum delalloc nodelalloc auto_da_alloc noauto_da_alloc ro,noload " +
		"dioread_lock dioread_nolock grpid nogrpid block_validity noblock_validity noinit_itable usrquota grpquota ?prjquota " +
		"data=ordered data=journal data=writeback errors=remount-ro errors=continue commit=1 commit=5 commit=900 " +
		"stripe=0 stripe=1 stripe=128 stripe=1048576 init_itable=0 init_itable=10 init_itable=1000 " +
		"max_batch_time=0 max_batch_time=15000 max_batch_time=1000000 min_batch_time=0 min_batch_time=1000000 " +
		"inode_readahead_blks=0 inode_readahead_blks=1 inode_readahead_blks=32 inode_readahead_blks=1048576 noatime,nosuid,commit=30,discard",
	volume.XFS: "nouuid ro,norecovery inode64 inode32 largeio nolargeio swalloc noalign filestreams grpid nogrpid wsync noquota " +
		"?usrquota ?grpquota ?prjquota ?uquota ?gquota ?pquota allocsize=4k allocsize=4096 allocsize=64k allocsize=65536 allocsize=1m " +
		"allocsize=1024k allocsize=1g allocsize=1048576k logbufs=2 logbufs=8 logbsize=16k logbsize=32k logbsize=256k",
	volume.Btrfs: "acl noacl autodefrag noautodefrag ssd nossd ssd_spread nossd_spread datacow nodatacow datasum nodatasum flushoncommit " +
		"noflushoncommit user_subvol_rm_allowed discard=async discard=sync compress compress=zlib compress=zlib:1 compress=zlib:9 " +
		"compress=lzo compress=zstd compress=zstd:1 compress=zstd:15 compress=no compress-force compress-force=zlib compress-force=zstd " +
		"compress-force=lzo compress-force=no commit=1 commit=30 commit=900 space_cache=v2 max_inline=0 max_inline=1 max_inline=2048 " +
		"max_inline=4095 max_inline=4096 thread_pool=1 thread_pool=4 thread_pool=256 compress=zstd,noatime,nodatasum",
}

// The kernel spells options differently than they were given: after a restart of kubelet, and of the plugin, what is mounted
// has to be known again.
func TestBlock_StageTwiceWithEveryOption(t *testing.T) {
	eachFS(t, func(t *testing.T, fsType string) {
		n := mounttest.NewNode(t)
		n.Attach(serial, size)
		staging, tried := n.Mkdir("staging"), map[string]bool{}
		must(t, newBlock(n).Stage(t.Context(), fresh(fsType), staging))
		must(t, newBlock(n).Unstage(t.Context(), handle, staging))
		d, err := newBlock(n).sysfs.find(serial)
		must(t, err)
		for option := range strings.FieldsSeq(optionValues[""] + " " + optionValues[fsType]) {
			option, mayBeRefused := strings.CutPrefix(option, "?")
			options, err := volume.ParseMountOptions(fsType, []string{option})
			must(t, err)
			tried[option] = true // what says nothing is dropped
			for _, o := range options {
				name, _, _ := strings.Cut(o, "=")
				tried[name] = true
			}
			stageAgain(t, n, d, staging, fsType, options, mayBeRefused)
		}
		for _, name := range volume.MountOptionNames(fsType) {
			if !tried[name] {
				t.Errorf("option %s was not tried", name)
			}
		}
	})
}

// stageAgain mounts as Stage does, without the tools that look at the disk before, and then stages.
func stageAgain(t *testing.T, n *mounttest.Node, d device, staging, fsType string, options volume.MountOptions, mayBeRefused bool) {
	t.Helper()
	b, plan := newBlock(n), fresh(fsType)
	plan.Options, plan.ReadOnly = options, options.Has("ro")
	plan.Clean = options.Has("noload") || options.Has("norecovery")
	err := b.work(t.Context(), "stage", handle, func(k *task) error { return b.mountPrepared(t.Context(), k, d, d, plan, staging) })
	if err != nil {
		if !mayBeRefused || !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), moreInLog) && !strings.Contains(err.Error(), "refuses mount option") {
			t.Errorf("mount with %q: %v", options, err)
		}
		return
	}
	for name, again := range map[string]*Block{"the same process": b, "another process": newBlock(n)} {
		if err := again.Stage(t.Context(), plan, staging); err != nil {
			t.Errorf("%s repeats stage with %q: %v", name, options, err)
		}
	}
	if mountsAt(t, staging) != 1 {
		t.Errorf("%d mounts with %q", mountsAt(t, staging), options)
	}
	must(t, b.Unstage(t.Context(), handle, staging))
}

// Most reasons are only in the kernel's log, where a user of Kubernetes does not look.
func TestBlock_StageSaysWhatTheKernelLogs(t *testing.T) {
	for fsType, tc := range map[string]struct{ option, reason string }{
		volume.Ext4:  {"prjquota", "EXT4-fs: Project quota feature not enabled"},
		volume.XFS:   {"sunit=8", "XFS (loop"},
		volume.Btrfs: {"space_cache=v1", "BTRFS"},
	} {
		t.Run(fsType, func(t *testing.T) {
			n := mounttest.NewNode(t)
			n.Attach(serial, size)
			plan := fresh(fsType)
			plan.Options = volume.MountOptions{tc.option} // not all pass the allow-list
			wantKind(t, newBlock(n).Stage(t.Context(), plan, n.Mkdir("staging")), fault.Invalid, "the kernel logged: "+tc.reason)
		})
	}
}
