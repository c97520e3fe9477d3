#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every source says its licence in its first lines (a script's first line is its interpreter).
set -eu

find . \( -path ./build -o -path ./.git \) -prune -o -type f \
    \( -name '*.[chS]' -o -name '*.hpp' -o -name '*.cpp' -o -name '*.cmake' -o -name '*.sh' \
       -o -name '*.map' -o -name CMakeLists.txt -o -name Makefile -o -path './.ci/run' \) -print |
    sort | xargs awk '
    FNR == 1 { close_previous(); name = FILENAME; found = 0 }
    FNR <= 2 && /SPDX-License-Identifier: Apache-2\.0/ { found = 1 }
    END { close_previous(); exit bad }
    function close_previous() {
        if (name != "" && !found) {
            print name ": no line \"SPDX-License-Identifier: Apache-2.0\""
            bad = 1
        }
    }'
