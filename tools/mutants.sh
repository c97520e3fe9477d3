#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows that the explorer catches faults: applies each patch of tests/explore/mutants to a copy of
# the sources, compiles what it touches, links that with the rest of an explorer already built, and
# runs the scenarios that must report it, by the oracle that must. docs/mutants.md says what the
# patches are and how one is written.
#
#   tools/mutants.sh [--build DIR] [--budget SECONDS] [--jobs N] [--keep] [NAME...]
#   tools/mutants.sh --check
#
# Without names: all. --check: only that each patch applies and has its head; builds nothing.
# --keep: what was built and printed stays in DIR/mutants. Exit: 0 all as their heads say, 1 not,
# 2 usage.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
patches=$root/tests/explore/mutants

# head_of NAME KEY: the values of a key, one a line.
head_of() {
    sed -n "/^--- /q; s/^$2: *//p" "$patches/$1.patch"
}

# What is wrong with a patch, if anything.
check_one() {
    local name=$1 file=$patches/$1.patch key scenario rest run bad=
    [ "$(head_of "$name" Name)" = "$name" ] || bad+="; Name is not the file's"
    [ -n "$(head_of "$name" Story)" ] || bad+="; no Story"
    [ -n "$(head_of "$name" Run)" ] || bad+="; no Run"
    case "$(head_of "$name" Oracle | wc -l) $(head_of "$name" Equivalent | wc -l)" in
    "1 0" | "0 1") ;;
    *) bad+="; neither Oracle nor Equivalent, or both" ;;
    esac
    while read -r scenario rest; do
        grep -qrF "\"$scenario\"" "$root/tests/explore/scenarios" || bad+="; no scenario $scenario"
    done < <(head_of "$name" Run)
    [ "$(grep -c '^--- ' "$file")" = 1 ] && [ "$(grep -c '^@@ ' "$file")" = 1 ] ||
        bad+="; not one change in one place"
    grep -q '^--- a/src/' "$file" || bad+="; does not change src/"
    grep -qF "\`$name\`" "$root/docs/mutants.md" || bad+="; not in docs/mutants.md"
    patch --dry-run --batch --silent --fuzz=0 -p1 -d "$root" <"$file" >/dev/null ||
        bad+="; does not apply"
    [ -z "$bad" ] || echo "$file: ${bad#; }"
}

# One row of the table, as the fields: name, scenario, oracle, steps, runs, seconds, verdict.
row() {
    local IFS=$'\t'
    echo "$*"
}

# Applies, builds, runs. One row a run goes to DIR/mutants/NAME/rows.
try_one() {
    local name=$1 place=$work/$1 file=$patches/$1.patch
    rm -rf "$place"
    mkdir -p "$place/objects" "$place/tests"
    cp -r "$root/src" "$place/src"
    cp -r "$root/tests/explore" "$place/tests/explore"
    if ! patch --batch --silent --fuzz=0 -p1 -d "$place" <"$file" >"$place/patch.log"; then
        row "$name" - - - - - "DOES NOT APPLY" >"$place/rows"
        return
    fi
    local changed
    changed=$(sed -n 's|^+++ b/\([^ \t]*\).*|\1|p' "$file")
    # The objects whose sources include the file, by the build's own records. A compiler cache may
    # have made paths relative.
    local link object source target scenarios relative
    relative=$(realpath -m --relative-to="$build" "$root/$changed")
    scenarios=$(head_of "$name" Run | sed 's/\([^ ]*\).*/"\1"/')
    link=$(tail -n 1 "$work/commands")
    for object in $(awk -v file="$root/$changed" -v relative="$relative" '
                        /^[^ ]/ { sub(/:.*/, ""); object = $0 }
                        ($1 == file || $1 == relative) && object ~ /explore\.dir/ { print object }
                        ' "$work/deps"); do
        # Of scenarios only those that run. The others are not linked either: they would bring inline
        # functions without the fault, and the linker takes the first it finds.
        source=$root/tests/explore/scenarios/$(basename "$object" .o)
        if [[ $object = */scenarios/* ]] && grep -q '^const Registered' "$source" &&
            ! grep -qF "$scenarios" "$source"; then
            link=${link/ $object / }
            continue
        fi
        target=$place/objects/$(echo "$object" | tr / _)
        # The same command, with the copy's files and no warnings: faults leave things unused.
        grep -F -- " -o $object " "$work/commands" | head -n 1 |
            sed "s|$root/src|$place/src|g; s|$root/tests|$place/tests|g; s|-I$root |-I$place -I$root |g
                 s| -MD .* -o [^ ]*| -w -g0 -o $target|" >"$place/command"
        if ! (cd "$build" && sh "$place/command") >>"$place/build.log" 2>&1; then
            row "$name" - - - - - "DOES NOT COMPILE" >"$place/rows"
            return
        fi
        link=${link/ $object / $target }
    done
    link=$(echo "$link" | sed "s| -o [^ ]*explore | -o $place/explore |")
    if ! (cd "$build" && sh -c "$link") >>"$place/build.log" 2>&1; then
        row "$name" - - - - - "DOES NOT LINK" >"$place/rows"
        return
    fi
    local oracle scenario model options found status line verdict
    oracle=$(head_of "$name" Oracle)
    while read -r scenario model options; do
        status=0
        # shellcheck disable=SC2086  # options are words
        timeout $((budget + 120)) "$place/explore" "$scenario" --model "$model" \
            --budget "$budget" $options >"$place/$scenario.$model.log" 2>&1 </dev/null || status=$?
        line=$(grep -m 1 "^explore $scenario:" "$place/$scenario.$model.log" || true)
        found=$(sed -n 's/^oracle: //p' "$place/$scenario.$model.log" | head -n 1)
        if [ "$status" = 0 ]; then
            verdict="NOT CAUGHT"
            [ -n "$oracle" ] || verdict="equivalent"
            case $line in *exhaustive*) ;; *) verdict+=", not exhaustive" ;; esac
        elif [ "$status" = 1 ] && [ -n "$oracle" ] && [ "$found" = "$oracle" ]; then
            verdict="caught"
        elif [ "$status" = 1 ] && [ -n "$found" ]; then
            verdict="BY ANOTHER ORACLE"
        else
            verdict="EXPLORER ENDS WITH $status"
        fi
        row "$name" "$scenario, $model" "${found:--}" \
            "$(echo "$line" | sed -n 's/.* \([0-9]*\) steps.*/\1/p')" \
            "$(echo "$line" | sed -n 's/.* \([0-9]*\) runs.*/\1/p')" \
            "$(echo "$line" | sed -n 's/.*| \([0-9.]*\) s$/\1/p')" "$verdict" >>"$place/rows"
    done < <(head_of "$name" Run)
    [ -n "$keep" ] || rm -rf "$place/src" "$place/tests" "$place/objects" "$place/explore"
}

build=$root/build/dev
budget=60
jobs=1
check=
keep=
one=
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$(cd "$2" && pwd) && shift ;;
    --budget) budget=$2 && shift ;;
    --jobs) jobs=$2 && shift ;;
    --check) check=1 ;;
    --keep) keep=1 ;;
    --one) one=1 ;; # Ourselves, for one of several at once.
    -*) sed -n '/^#   tools/p' "$0" >&2 && exit 2 ;;
    *) names+=("$1") ;;
    esac
    shift
done
for name in "${names[@]}"; do
    [ -e "$patches/$name.patch" ] || { echo "mutants: there is no $name" >&2 && exit 2; }
done
if [ ${#names[@]} = 0 ]; then
    for file in "$patches"/*.patch; do
        names+=("$(basename "$file" .patch)")
    done
fi

if [ -n "$check" ]; then
    status=0
    for name in "${names[@]}"; do
        wrong=$(check_one "$name")
        [ -z "$wrong" ] || { echo "$wrong" && status=1; }
    done
    exit $status
fi

work=$build/mutants
if [ -n "$one" ]; then
    try_one "${names[0]}"
    exit
fi

mkdir -p "$work"
cmake --build "$build" --target explore >"$work/base.log" 2>&1 || { cat "$work/base.log" && exit 1; }
ninja -C "$build" -t commands tests/explore/explore >"$work/commands"
ninja -C "$build" -t deps >"$work/deps"
printf '%s\n' "${names[@]}" | xargs -P "$jobs" -I '{}' "$0" --build "$build" --budget "$budget" \
    ${keep:+--keep} --one '{}'
for name in "${names[@]}"; do
    cat "$work/$name/rows"
done >"$work/table"
{
    row mutant scenario oracle steps runs seconds verdict
    cat "$work/table"
} | awk -F '\t' '{ printf "%-32s %-40s %-16s %10s %8s %7s  %s\n", $1, $2, $3, $4, $5, $6, $7 }'
bad=$(awk -F '\t' '$7 !~ /^(caught|equivalent)$/' "$work/table" | wc -l)
echo "${#names[@]} mutants, $bad runs not as they must be"
[ "$bad" = 0 ]
