#!/usr/bin/env bash
# The unit that runs this node's server. Runs as root.
#
#   service.sh start|stop|restart   ends when it is done; a stop that finds it stopped is one
#   service.sh status               active, inactive, failed, …; exit code 3 when it does not run
#   service.sh log [LINES]          its last words
#   service.sh install              takes the bundle's unit files where they differ; restarts nothing
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

unit=citus-node.service
units=${CITUS_UNITS:-/etc/systemd/system}

install_units() {
    local name changed=no
    for name in "$unit" citus-metrics.service citus-metrics.timer; do
        cmp -s "$here/$name" "$units/$name" && continue
        install -m 0644 "$here/$name" "$units/.$name.new"
        mv "$units/.$name.new" "$units/$name"
        changed=yes
    done
    if [ "$changed" = yes ]; then systemctl daemon-reload; fi
    systemctl enable --quiet "$unit"
}

case ${1:-} in
    start | stop | restart) systemctl "$1" "$unit" ;;
    status) systemctl is-active "$unit" ;;
    log)
        [[ ${2:-15} =~ ^[0-9]{1,4}$ ]] || die 64 "service.sh log [LINES]"
        journalctl --unit="$unit" --lines="${2:-15}" --output=cat --no-pager --quiet
        ;;
    install) install_units ;;
    *) die 64 "service.sh start|stop|restart|status|log [LINES]|install" ;;
esac
