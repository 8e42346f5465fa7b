#!/usr/bin/env bash
# Makes this machine a node: packages, the data volume, the kernel's settings, the unit. Each step does nothing where it is
# done, so it runs at every boot. Ends when the unit runs, which waits for its configuration by itself. Runs as root.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

umask 022
exec 9> /run/citus-node-boot.lock
flock 9
"$here/packages.sh" install
"$here/disk.sh" mount
# a query or cancel request to a node whose address is gone fails in seconds, not in minutes (docs/decisions/0005)
printf '%s\n' 'net.ipv4.tcp_syn_retries = 2' 'net.ipv4.tcp_retries2 = 6' > /etc/sysctl.d/60-citus-node.conf
sysctl -q -p /etc/sysctl.d/60-citus-node.conf
"$here/service.sh" install
"$here/service.sh" start
if [ "${ALARMS:-off}" = on ]; then "$here/metrics.sh" on; fi
