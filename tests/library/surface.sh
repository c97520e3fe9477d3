#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# surface.sh LIBRARY COMPILER INCLUDE_DIR: the shared library shows the public face and nothing else;
# the public headers include none of the internal ones, stand alone, and define no macro.
set -eu
library=$1
compiler=$2
include=$3
status=0

# Whatever is defined and dynamic is named in a public header.
for name in $(nm -D --defined-only -C "$library" | awk '{ $1 = ""; $2 = ""; print }' |
    sed 's/(.*//; s/^ *//; s/.*:://; s/^~//' | sort -u); do
    grep -qrw "$name" "$include/taskwork" --include='*.hpp' || {
        echo "$library shows $name, which no public header declares"
        status=1
    }
done
nm -D --defined-only -C "$library" | grep -v ' taskwork::' && {
    echo "symbols outside the namespace (above)"
    status=1
}
nm -D --defined-only -C "$library" | grep -q 'taskwork::version' || {
    echo "the public face is missing"
    status=1
}

for header in "$include"/taskwork/*.hpp; do
    echo "#include <taskwork/$(basename "$header")>" |
        "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Werror -I"$include" -fsyntax-only -x c++ - || {
        echo "$header does not stand alone"
        status=1
    }
    grep -n '^ *# *include "' "$header" && {
        echo "$header includes an internal header"
        status=1
    }
    grep -n '^ *# *define' "$header" && {
        echo "$header defines a macro"
        status=1
    }
done
exit $status
