#!/usr/bin/env bash
# Asks PostgreSQL about settings before any node is given them. Takes a tar stream on standard input with the file
# `settings`, a line each: a number, tab, name, tab, value; and, where the node is to run with them, what trial.sh takes.
# Prints a line for each that is refused: its number, tab, what PostgreSQL says, tab, what it allows. When a name is not
# known, a line `names`, tab, all names follows. What a trial finds is a line `trial`, tab, name or -, tab, why. Changes nothing.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tar -xf - -C "$dir" --no-same-owner
[ -f "$dir/settings" ] || die 6 "the settings did not arrive"
unlocked
server=no
if running; then server=yes; fi

# The program itself, which reads no other setting and touches no data.
refused_by_program() { # name, value
    ! "$pgbin/postgres" -D "$home" -c config_file=/dev/null -c "$1=$2" -C "$1" > /dev/null 2> "$dir/said"
}

ask_server() { # name, value; SQL on standard input
    "$pgbin/psql" -h "$socket" -U postgres -d "$(cat "$current/database")" -XAtq -v ON_ERROR_STOP=1 -v SHOW_CONTEXT=never \
        -v name="$1" -v value="$2"
}

# What a loaded library brings is known to the running server alone. One that no session may change is compared with
# what pg_settings has of it.
refused_by_server() { # name, value
    [ "$server" = yes ] || return 1
    if ask_server "$1" "$2" > /dev/null 2> "$dir/said" <<< "SELECT pg_catalog.set_config(:'name', :'value', true)"; then return 1; fi
    grep -q 'cannot be \(changed\|set\)' "$dir/said" || return 0
    ask_server "$1" "$2" > "$dir/said" 2> /dev/null << 'END'
        SELECT format('ERROR:  invalid value for parameter "%s": "%s"', name, :'value') FROM pg_catalog.pg_settings
         WHERE lower(name) = :'name' AND CASE vartype
               WHEN 'bool' THEN :'value' !~* '^(on|off?|t|tr|true?|f|fa|fal|false?|y|ye|yes|n|no|1|0)$'
               -- pg_settings does not have every value of an enum
               WHEN 'string' THEN false WHEN 'enum' THEN false
               ELSE CASE WHEN :'value' ~ '^-?[0-9]+([.][0-9]+)?$' THEN NOT :'value'::numeric BETWEEN min_val::numeric AND max_val::numeric
                         ELSE :'value' !~ '^ *-?[0-9.]+ *[A-Za-z]+ *$' END END
END
    [ -s "$dir/said" ]
}

said() {
    sed -n -e 's/^.*\(FATAL\|ERROR\): *//p' -e 's/^.*\(DETAIL\|HINT\): *//p' "$dir/said" | paste -sd '|' - | sed 's/|/; /g' | tr '\t' ' '
}

allowed() { # name
    [ "$server" = yes ] || return 0
    ask_server "$1" "" <<< "
        SELECT CASE vartype WHEN 'bool' THEN 'on, off' WHEN 'enum' THEN array_to_string(enumvals, ', ')
                 ELSE min_val || ' to ' || max_val || coalesce(', in units of ' || unit, '') END
          FROM pg_catalog.pg_settings WHERE lower(name) = :'name'"
}

unknown=no
while IFS=$'\t' read -r number name value; do
    case $name in
        *.*) refused_by_server "$name" "$value" || continue ;;
        *) refused_by_program "$name" "$value" || continue ;;
    esac
    printf '%s\t%s\t%s\n' "$number" "$(said)" "$(allowed "$name")"
    if grep -q 'unrecognized configuration parameter' "$dir/said"; then unknown=yes; fi
    # the trial would end at it
    [ ! -f "$dir/postgresql.conf" ] || sed -i "/^${name//./[.]} = /d" "$dir/postgresql.conf"
done < "$dir/settings"
if [ "$unknown" = yes ]; then printf 'names\t%s\n' "$("$pgbin/postgres" --describe-config | cut -f 1 | paste -sd , -)"; fi
if [ -f "$dir/postgresql.conf" ]; then "$here/trial.sh" "$dir" | sed 's/^/trial\t/' || true; fi
