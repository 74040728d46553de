#!/bin/sh
# btrfstune -m on a btrfs whose log is pending (log_root is not 0, as in a copy of a file system in use) ends with exit code 0, and
# the file system cannot be mounted any more; without it, the kernel replays the log and all is there. Run as root, on Debian 12.
# Ends with 0 as long as that is so, and with 1 once it has changed.
set -eu

version=6.2-1+deb12u2
dir=$(mktemp -d)
trap 'umount "$dir/mnt" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "btrfs-progs=$version" >/dev/null 2>&1
dpkg-deb -x btrfs-progs_*.deb .
PATH="$dir/bin:$dir/sbin:$dir/usr/bin:$PATH"
echo "Linux $(uname -r), $(btrfs --version)"

mkdir mnt
truncate -s 256M image
mkfs.btrfs -q image
mount -o loop image mnt
echo first >mnt/file
sync -f mnt
echo second >mnt/file
sync mnt/file # fsync(2): into the log
cp --sparse=always image copy
cp --sparse=always image other
umount mnt
btrfs inspect-internal dump-super copy | grep '^log_root\b'

mount -o loop other mnt
echo "a copy, mounted as it is: the file holds \"$(cat mnt/file)\""
umount mnt

btrfstune -m copy
echo "btrfstune -m on a copy: exit code $?"
btrfs inspect-internal dump-super copy | grep '^log_root\b'
if mount -o loop copy mnt 2>said; then
    echo "it was mounted: this has changed"
    exit 1
fi
cat said
