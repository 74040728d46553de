#!/bin/sh
# e2fsck 1.47.0 (Debian 12) checks a whole ext4 with the feature orphan_file after every unclean stop: orphan_present, which the
# kernel sets in the first superblock only while the file system is mounted, is taken for damage. 1.47.2 (Debian 13) replays the
# journal and is done. Needs no root, on amd64. Ends with 0 as long as that is so, and with 1 once it has changed.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
pool=$(apt-get indextargets --format '$(REPO_URI)' | head -1)pool/main/e/e2fsprogs # where this machine's apt has its packages from
for package in e2fsprogs_1.47.0-2+b2 libext2fs2_1.47.0-2+b2 e2fsck-static_1.47.0-2+b2 e2fsck-static_1.47.2-3+b12; do
    curl -fsS -o "$package.deb" "$pool/${package}_amd64.deb"
    dpkg-deb -x "$package.deb" "$package"
done
old=$(find "$dir/e2fsck-static_1.47.0-2+b2" -name e2fsck.static)
new=$(find "$dir/e2fsck-static_1.47.2-3+b12" -name e2fsck.static)
libraries=$(dirname "$(find "$dir/libext2fs2_1.47.0-2+b2" -name libext2fs.so.2)")

truncate -s 256M image
LD_LIBRARY_PATH=$libraries "$(find "$dir/e2fsprogs_1.47.0-2+b2" -name mke2fs)" -q -t ext4 -O orphan_file,^metadata_csum image
# As a mounted file system has it: orphan_present (bit 16 of the features at 1024+100), and a journal to replay (bit 2 of those at 1024+96).
set_bit() { # byte at offset $1 gets bits $2
    now=$(od -An -tu1 -j "$1" -N 1 image)
    printf "\\$(printf %o $((now | $2)))" | dd of=image bs=1 seek="$1" conv=notrunc status=none
}
set_bit $((1024 + 102)) 1
set_bit $((1024 + 96)) 4
cp image copy

for e2fsck in "$old" "$new"; do
    "$e2fsck" -V 2>&1 | head -1
    cp copy image
    "$e2fsck" -p image >said && code=0 || code=$?
    echo "exit code $code:"
    cat said
    if grep -q 'check forced' said; then forced="${forced:-}yes "; else forced="${forced:-}no "; fi
done
[ "$forced" = "yes no " ] || { echo "this has changed: a whole check was forced: $forced"; exit 1; }
