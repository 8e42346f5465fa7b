#!/usr/bin/env bash
# The data volume. Runs as root.
#
#   disk.sh mount         waits for it, makes a filesystem only on a volume that was never written, mounts it
#   disk.sh check         that it is this volume which is mounted, and not a copy of it
#   disk.sh grow [GIB]    its filesystem as large as the volume is; waits until that is GIB. Prints size=bytes
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VOLUME_ID/-/}

wait_for_volume() {
    local end=$((SECONDS + 300))
    [ -b "$device" ] || say "waiting for volume $VOLUME_ID"
    until [ -b "$device" ]; do
        [ "$SECONDS" -lt "$end" ] || die 69 "volume $VOLUME_ID is not attached to this machine"
        sleep 0.5
    done
}

# blkid says "nothing" also where it can't read, so a volume counts as new only when its beginning can be read and is empty.
never_written() {
    [ "$(head -c 1048576 "$device" | tr -d '\0' | wc -c)" = 0 ] && [ "$(head -c 1048576 "$device" | wc -c)" = 1048576 ]
}

filesystem() {
    local type code=0
    type=$(blkid -p -s TYPE -o value "$device") || code=$?
    if [ "$type" = xfs ]; then return; fi
    if [ "$code" != 2 ] || [ -n "$type" ]; then
        die 73 "volume $VOLUME_ID holds ${type:-something unknown} and no xfs; it is left alone"
    fi
    never_written || die 73 "volume $VOLUME_ID holds data and no filesystem; it is left alone"
    say "making a filesystem on volume $VOLUME_ID"
    # without -f it refuses what already holds one
    mkfs.xfs -q "$device"
    udevadm settle || true
}

mount_it() {
    local uuid line
    uuid=$(blkid -p -s UUID -o value "$device")
    line="UUID=$uuid $home xfs defaults,noatime,nofail,x-systemd.device-timeout=60s 0 0"
    if ! grep -qxF "$line" /etc/fstab; then
        { grep -v "[[:space:]]${home}[[:space:]]" /etc/fstab || true; printf '%s\n' "$line"; } > /etc/fstab.new
        mv /etc/fstab.new /etc/fstab
        systemctl daemon-reload
    fi
    mkdir -p "$home"
    mountpoint -q "$home" || mount "$home"
    check_mounted
}

# A copy from a snapshot has the same filesystem id, and must never be served in its place.
check_mounted() {
    [ "$(realpath "$(findmnt -n -o SOURCE -M "$home")")" = "$(realpath "$device")" ] \
        || die 73 "$home is not on volume $VOLUME_ID"
}

# Another machine image may have given postgres another number. The folder itself comes last: it says that all are done.
own_it() {
    if [ "$(stat -c %U "$home")" != postgres ]; then
        find "$home" -xdev -mindepth 1 ! -user postgres -exec chown -h postgres:postgres {} +
        chown postgres:postgres "$home"
    fi
    chmod 0700 "$home"
}

# A volume that was made larger shows it only some moments later.
grow() { # GiB
    local end=$((SECONDS + 120)) size
    while size=$(blockdev --getsize64 "$device") && [ "$size" -lt $((${1:-0} * 1024 ** 3)) ]; do
        [ "$SECONDS" -lt "$end" ] || die 75 "volume $VOLUME_ID does not show its $1 GiB yet"
        sleep 1
    done
    [ -n "$size" ] || die 69 "volume $VOLUME_ID can't be read"
    xfs_growfs "$home" > /dev/null
    printf 'size=%s\n' "$size"
}

case ${1:-} in
    mount)
        wait_for_volume
        filesystem
        mount_it
        own_it
        grow > /dev/null
        ;;
    check) check_mounted ;;
    grow)
        [[ ${2:-0} =~ ^[0-9]{1,6}$ ]] || die 64 "disk.sh grow [GIB]"
        grow "${2:-0}"
        ;;
    *) die 64 "disk.sh mount|check|grow [GIB]" ;;
esac
