#!/bin/sh
# Makes this machine's disks what /etc/instance/disks says: a file for each volume, its name the volume's id without the
# dash, its content MAJOR:MINOR of the loop device that is the disk.
set -eu
rules=/etc/udev/rules.d
mkdir -p "$rules"

# while the machine boots, there is nobody to tell: it looks at all disks then
look() {
    [ -S /run/udev/control ] || return 0
    udevadm control --reload
    udevadm trigger --action="$1" "/sys/block/$2"
}

for rule in "$rules"/90-disk-*.rules; do
    [ -e "$rule" ] || continue
    volume=${rule##*/90-disk-}
    volume=${volume%.rules}
    [ -e "/etc/instance/disks/$volume" ] && continue
    node=$(sed -n 's/^KERNEL=="\([^"]*\)".*/\1/p' "$rule")
    rm -f "$rule"
    look change "$node"
    rm -f "/dev/$node" "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$volume"
done

for disk in /etc/instance/disks/*; do
    [ -e "$disk" ] || continue
    volume=${disk##*/}
    number=$(cat "$disk")
    node=loop${number#*:}
    # at a boot and when a disk comes at the same moment this runs twice
    [ -b "/dev/$node" ] || mknod -m 660 "/dev/$node" b "${number%:*}" "${number#*:}" 2> /dev/null || [ -b "/dev/$node" ]
    printf 'KERNEL=="%s", SYMLINK+="disk/by-id/nvme-Amazon_Elastic_Block_Store_%s"\n' "$node" "$volume" \
        > "$rules/90-disk-$volume.rules"
    look add "$node"
done
