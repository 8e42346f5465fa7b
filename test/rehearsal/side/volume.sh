#!/bin/sh
# Volumes are sparse files that loop devices show as disks. Run in the side container, which has the host's /dev.
#   volume.sh create VOLUME GIB    prints MAJOR:MINOR
#   volume.sh grow VOLUME GIB
#   volume.sh number VOLUME        prints MAJOR:MINOR
#   volume.sh delete VOLUME
#   volume.sh clear                all of them, and everything else in the rehearsal's folder
set -eu
action=$1 volume=${2-} gib=${3-}
disks=/world/disks
mkdir -p "$disks"
file=$disks/$volume.img

device() { losetup --noheadings --output NAME --associated "$file"; }
number() { losetup --noheadings --output MAJ:MIN --associated "$file" | tr -d ' '; }
detach() {
    for found in $(device); do losetup --detach "$found"; done
    rm -f "$file"
}

case $action in
    create)
        truncate -s "${gib}G" "$file"
        losetup --find "$file"
        number
        ;;
    grow)
        truncate -s "${gib}G" "$file"
        losetup --set-capacity "$(device)"
        ;;
    number) number ;;
    delete) detach ;;
    clear)
        for file in "$disks"/*.img; do
            [ -e "$file" ] && detach
        done
        find /world -mindepth 1 -delete
        ;;
    *)
        echo "volume.sh: unknown action $action" >&2
        exit 64
        ;;
esac
