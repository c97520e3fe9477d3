#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# docs/kernel-checklist.md and the tests: K1 to K150 have a row each; every `Suite.test` in it is a
# test; every test whose name cites a K (K12_..., ..._K12) stands in the row of that K.
set -eu
table=docs/kernel-checklist.md
places="src tests"

# The tests, a line each: Suite.name. Macros of ours that stand for TEST are TW_<SUITE>(name, ...).
# shellcheck disable=SC2086  # two words are meant
found=$(find $places -name '*_test.cpp' -o -name 'conformance.hpp' | sort | xargs awk '
    {
        line = line " " $0
        while (match(line, /(TEST|TEST_F|TEST_P)\([A-Za-z0-9]+, *[A-Za-z0-9_]+\)|TW_[A-Z]+\([A-Za-z][A-Za-z0-9_]*,/)) {
            test = substr(line, RSTART, RLENGTH)
            line = substr(line, RSTART + RLENGTH)
            split(test, parts, /[(), ]+/)
            if (test ~ /^TW_/) {
                suite = substr(parts[1], 4, 1) tolower(substr(parts[1], 5))
                print suite "." parts[2]
            } else {
                print parts[2] "." parts[3]
            }
        }
        # What may go on in the next line.
        if (!match(line, /(TEST|TEST_F|TEST_P|TW_[A-Z]+)\([^)]*$/)) { line = "" }
    }')

printf '%s\n' "$found" | awk -v table="$table" '
    { tests[$0] = 1 }
    END {
        while ((getline line < table) > 0) {
            if (line !~ /^\| K[0-9]+ \|/) { continue }
            split(line, cells, "|")
            number = cells[2]
            gsub(/[ K]/, "", number)
            if (number in rows) { print table ": K" number " has two rows"; bad = 1 }
            rows[number] = line
            rest = line
            while (match(rest, /`[A-Z][A-Za-z0-9]*\.[A-Za-z][A-Za-z0-9_]*`/)) {
                name = substr(rest, RSTART + 1, RLENGTH - 2)
                rest = substr(rest, RSTART + RLENGTH)
                if (name ~ /\.md$/) { continue }
                if (!(name in tests)) {
                    print table ": K" number ": there is no test " name
                    bad = 1
                }
            }
            if (cells[4] !~ /`[A-Z][A-Za-z0-9]*\./ && cells[4] !~ /later|does not apply/) {
                print table ": K" number " has neither test nor reason"
                bad = 1
            }
        }
        for (number = 1; number <= 150; ++number) {
            if (!(number in rows)) { print table ": no row for K" number; bad = 1 }
        }
        for (name in tests) {
            count = split(name, words, /[._]/)
            for (i = 2; i <= count; ++i) {
                if (words[i] ~ /^K[0-9]+$/ &&
                    index(rows[substr(words[i], 2)], "`" name "`") == 0) {
                    print table ": the row of " words[i] " does not name " name
                    bad = 1
                }
            }
        }
        exit bad
    }'
