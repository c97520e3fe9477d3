#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every file that a document of ours mentions exists: targets of links, and `code` that is a path
# from the top of the tree (src/..., tests/...) or the name of a document. Code with a placeholder
# in it (<name>, *, {a,b}) is not a path.
set -eu

find . -name '*.md' ! -path './build/*' ! -path './.git/*' | sort | while read -r document; do
    awk '
        /^ *```/ { fenced = !fenced; next }
        fenced { next }
        {
            line = $0
            while (match(line, /\]\([^) ]+\)/)) {
                print FNR, "link", substr(line, RSTART + 2, RLENGTH - 3)
                line = substr(line, RSTART + RLENGTH)
            }
            line = $0
            while (match(line, /`[^` ]+`/)) {
                print FNR, "code", substr(line, RSTART + 1, RLENGTH - 2)
                line = substr(line, RSTART + RLENGTH)
            }
        }' "$document" |
    while read -r line kind name; do
        name=${name%%#*}
        name=${name%%:[0-9]*}
        case $name in
        '' | *[\<\>*{}\$]* | *...* | http://* | https://* | mailto:*) continue ;;
        esac
        if [ "$kind" = code ]; then
            case $name in
            src/* | include/* | tests/* | examples/* | bench/*) ;;
            docs/* | tools/* | cmake/* | .ci/*) ;;
            [A-Z]*.md) ;;
            *) continue ;;
            esac
        fi
        if [ ! -e "$(dirname "$document")/$name" ] && [ ! -e "$name" ]; then
            echo "$document:$line: $name does not exist"
        fi
    done
done | awk '{ print; bad = 1 } END { exit bad }'
