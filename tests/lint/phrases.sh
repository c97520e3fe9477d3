#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The table of phrases in docs/verifier.md: a row for each phrase that the programs of
# tests/verifier expect, with their number, and for each that the verifier refuses with; no other.
# Numbers are N, registers Rn. `phrases.sh --print` prints what the table has to say.
set -eu

# shellcheck disable=SC2046  # names without blanks
awk -v printing="${1:-}" -v table=docs/verifier.md '
    # "off=-8 R3" and "off=N Rn" are the same phrase.
    function general(text,    result, before, word) {
        gsub(/bpf_[a-z_0-9]+#-?[0-9]+/, "HELPER", text)
        gsub(/map \047[^\047]*\047/, "map \047NAME\047", text)
        gsub(/opcode [0-9a-f]+/, "opcode N", text)
        gsub(/arg[0-9]/, "argN", text)
        sub(/=$/, "=0", text)
        result = ""
        while (match(text, /[A-Za-z_0-9]+/)) {
            before = substr(text, 1, RSTART - 1)
            word = substr(text, RSTART, RLENGTH)
            text = substr(text, RSTART + RLENGTH)
            if (word ~ /^R[0-9]+$/) { word = "Rn" }
            if (word ~ /^[0-9]/) { word = "N"; sub(/-$/, "", before) }
            result = result before word
        }
        return result text
    }
    # The string literals at the beginning of the text, in one; where a macro gives the width of a
    # number stands what a conversion is: \001. Leaves what is behind in `rest`.
    function literals(text,    result) {
        result = ""
        for (;;) {
            sub(/^[ \t\n\\]+/, "", text)
            if (match(text, /^"([^"\\]|\\.)*"/)) {
                result = result substr(text, 2, RLENGTH - 2)
            } else if (result == "" || !match(text, /^PRI[a-z0-9]+/)) {
                rest = text
                return result
            }
            text = substr(text, RSTART + RLENGTH)
        }
    }
    # The longest piece of a format that is always there.
    function constant_piece(format,    count, pieces, i, best) {
        gsub(/%%/, "\002", format)
        gsub(/%[-+0]*[0-9]*(ll|z|l)?([a-z]|$)?/, "\001", format)
        gsub(/\002/, "%", format)
        count = split(format, pieces, "\001")
        best = ""
        for (i = 1; i <= count; ++i) {
            if (length(pieces[i]) > length(best)) { best = pieces[i] }
        }
        best = general(best)
        sub(/=N$/, "=", best)
        sub(/\047$/, "", best)
        return best
    }
    { text[FILENAME] = text[FILENAME] $0 "\n" }
    END {
        for (file in text) {
            rest = text[file]
            if (file ~ /\.bpf\.c$/) {
                while (match(rest, /(REJECTED|ABSENT)\(/)) {
                    rest = substr(rest, RSTART + RLENGTH)
                    phrase = literals(rest)
                    if (phrase != "") { ++programs[general(phrase)] }
                }
            } else {
                while (match(rest, /refuse\((E[A-Z0-9]+|error),/)) {
                    rest = substr(rest, RSTART + RLENGTH)
                    format = literals(rest)
                    gsub(/\\"/, "\"", format)
                    if (format != "" && format != "%s") { formats[format] = file }
                }
            }
        }
        while ((getline line < table) > 0) {
            if (line ~ /^## /) { inside = line == "## Phrases" }
            if (!inside || line !~ /^\| `/) { continue }
            gsub(/\\\|/, "\003", line)
            split(line, cells, "|")
            phrase = cells[2]
            sub(/^ *`/, "", phrase); sub(/` *$/, "", phrase)
            gsub(/\003/, "|", phrase)
            key = general(phrase)
            if (printing == "" && key in rows) { print table ": two rows for " key; bad = 1 }
            rows[key] = cells[3]
            count[key] = cells[4] + 0
        }
        for (key in programs) { shown[key] = programs[key] }
        for (format in formats) {
            piece = constant_piece(format)
            if (length(piece) < 6) { continue }
            covered = 0
            for (key in programs) { covered = covered || index(key, piece) != 0 }
            if (covered) { continue }
            whole = format
            gsub(/%[-+0]*[0-9]*(ll|z|l)?[du]/, "N", whole)
            gsub(/%[-+0]*[0-9]*(ll|z|l)?[sx]/, "...", whole)
            gsub(/Rn?N/, "Rn", whole)
            gsub(/%/, "N", whole)
            shown[general(whole)] = 0
        }
        for (key in shown) {
            if (printing != "") {
                cell = key
                gsub(/\|/, "\\|", cell)
                print "| `" cell "` |" ((key in rows) ? rows[key] : "  ") "| " shown[key] " |"
            } else if (!(key in rows)) {
                print table ": no row for " key
                bad = 1
            } else if (count[key] != shown[key]) {
                print table ": " count[key] " instead of " shown[key] " programs expect " key
                bad = 1
            }
        }
        for (key in rows) {
            if (printing == "" && !(key in shown) && count[key] != 0) {
                print table ": nobody says " key
                bad = 1
            }
        }
        exit printing == "" && bad
    }' $(find tests/verifier -name '*.bpf.c') $(find src/bpf/verifier -name '*.cpp' ! -name '*_test.cpp')
