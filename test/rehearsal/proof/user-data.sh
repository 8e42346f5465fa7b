#!/bin/bash
# User data of an instance that only has a disk.
set -eu
disk=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0
until [ -b "$disk" ]; do sleep 0.2; done
new=no
if ! blkid "$disk"; then
    mkfs.xfs -q "$disk"
    new=yes
fi
mkdir -p /data
printf 'UUID=%s /data xfs defaults,nofail 0 2\n' "$(blkid -s UUID -o value "$disk")" >> /etc/fstab
systemctl daemon-reload
mount /data
[ $new = no ] || echo formatted > /data/boots
cloud-init query instance_id >> /data/boots
touch /run/booted
echo BOOT-OK
