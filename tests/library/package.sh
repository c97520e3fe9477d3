#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# package.sh CMAKE BUILD_DIR CONSUMER COMPILER LIBDIR VERSION: installs the library into a fresh
# prefix, where a project finds it by find_package, and a makefile by pkg-config.
set -eu
cmake=$1
build=$2
consumer=$3
compiler=$4
libdir=$5
version=$6
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT

"$cmake" --install "$build" --prefix "$prefix/usr" --component library >/dev/null

for target in taskwork taskwork_static; do
    "$cmake" -S "$consumer" -B "$prefix/build-$target" -DCMAKE_PREFIX_PATH="$prefix/usr" \
        -DCMAKE_CXX_COMPILER="$compiler" -DCONSUMED="taskwork::$target" -DVERSION="$version" \
        >"$prefix/log" 2>&1 && "$cmake" --build "$prefix/build-$target" >>"$prefix/log" 2>&1 || {
        cat "$prefix/log"
        exit 1
    }
    "$prefix/build-$target/consumer"
done

command -v pkg-config >/dev/null || {
    echo "skipped: pkg-config is not installed"
    exit 77
}
export PKG_CONFIG_PATH="$prefix/usr/$libdir/pkgconfig"
# Where it stands now, not where it was configured for.
flags=$(pkg-config --define-variable=prefix="$prefix/usr" --cflags --libs taskwork)
# shellcheck disable=SC2086  # they are several
"$compiler" -std=c++20 -o "$prefix/shared" "$consumer/consumer.cpp" $flags
LD_LIBRARY_PATH="$prefix/usr/$libdir" "$prefix/shared"
cflags=$(pkg-config --define-variable=prefix="$prefix/usr" --cflags taskwork)
# shellcheck disable=SC2086
"$compiler" -std=c++20 -o "$prefix/static" "$consumer/consumer.cpp" $cflags \
    "$prefix/usr/$libdir/libtaskwork.a" -pthread
"$prefix/static"
[ "$(pkg-config --modversion taskwork)" = "$version" ]
