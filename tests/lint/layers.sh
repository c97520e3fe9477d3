#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A layer includes itself and the layers above it only. The order is that of the table in DESIGN.md;
# the link lines hold for functions, this holds for headers.
set -eu
order="base sync task defer library map bpf event uapi agent cli"

find src -name '*.[ch]' -o -name '*.[ch]pp' | sort | xargs awk -v order="$order" '
    BEGIN {
        count = split(order, names, " ")
        for (i = 1; i <= count; i++) { rank[names[i]] = i }
    }
    /^[ \t]*#[ \t]*include[ \t]*"[a-z]+\// {
        split(FILENAME, path, "/")
        split($0, quoted, "\"")
        split(quoted[2], target, "/")
        if (!(target[1] in rank)) {
            printf "%s:%d: \"%s\" is in no layer\n", FILENAME, FNR, quoted[2]
            bad = 1
        } else if (rank[target[1]] > rank[path[2]]) {
            printf "%s:%d: layer %s may not include %s, which is below it\n", \
                FILENAME, FNR, path[2], target[1]
            bad = 1
        }
    }
    END { exit bad }' /dev/null

# The folders and the list must not drift apart either.
for layer in src/*/; do
    layer=$(basename "$layer")
    case " $order " in
    *" $layer "*) ;;
    *) echo "src/$layer: not in the table of layers (tests/lint/layers.sh)"; exit 1 ;;
    esac
done
