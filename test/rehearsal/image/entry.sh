#!/bin/sh
# First process of an instance's container: what a hypervisor would have set up, then systemd in its place.
# /etc/instance is mounted by whoever made the container: ca.crt and disks/.
set -eu

# a cgroup tree of its own, also on a host that has version 1
umount -R /sys/fs/cgroup 2> /dev/null || umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# the kernel is the host's: only the network's settings are an instance's own
for dir in kernel vm fs; do
    mount --bind "/proc/sys/$dir" "/proc/sys/$dir"
    mount -o remount,bind,ro "/proc/sys/$dir"
done

# the instance metadata service is on the same wire
ip route replace 169.254.169.254 dev eth0

# services are reached under their real names, so this machine trusts who signed their certificates
if ! cmp -s /etc/instance/ca.crt /usr/local/share/ca-certificates/instance.crt; then
    cp /etc/instance/ca.crt /usr/local/share/ca-certificates/instance.crt
    # what update-ca-certificates would do, in a twentieth of its time
    ln -sf /usr/local/share/ca-certificates/instance.crt /etc/ssl/certs/instance.pem
    cat /etc/instance/ca.crt >> /etc/ssl/certs/ca-certificates.crt
    openssl rehash /etc/ssl/certs 2> /dev/null
fi

# of the host's disks, only those that are this instance's disks
find /dev -type b -delete
rm -f /etc/udev/rules.d/90-disk-*.rules
mkdir -p /dev/disk/by-id
/usr/local/lib/instance/disks.sh

export container=docker
exec /sbin/init
