#!/usr/bin/env bash
# The restore of this node is written down where it was asked for: from here on the same request is another restore.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

rm -f "$home/restored-plan"
