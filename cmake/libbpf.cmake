# SPDX-License-Identifier: Apache-2.0
#
# libbpf from Debian, linked statically, in two forms:
#   taskwork_libbpf          as it is: its calls go to the kernel (tests against the real one)
#   taskwork_libbpf_wrapped  its libc calls, and the program's own, go to __wrap_<name> in src/uapi

find_library(TASKWORK_LIBBPF_A libbpf.a REQUIRED)
find_library(TASKWORK_LIBELF_A libelf.a REQUIRED)
find_library(TASKWORK_LIBZ_A libz.a REQUIRED)

add_library(taskwork_libbpf STATIC IMPORTED GLOBAL)
set_target_properties(taskwork_libbpf PROPERTIES
    IMPORTED_LOCATION "${TASKWORK_LIBBPF_A}"
    INTERFACE_LINK_LIBRARIES "${TASKWORK_LIBELF_A};${TASKWORK_LIBZ_A}")

include("${CMAKE_SOURCE_DIR}/src/uapi/wrap_symbols.cmake")
list(TRANSFORM TASKWORK_WRAP_SYMBOLS PREPEND "-Wl,--wrap=" OUTPUT_VARIABLE wrap_flags)

# libbpf.a refers to __wrap_<name>, so here src/uapi is one of the libraries it needs: the linker
# wants it after libbpf.a.
add_library(taskwork_libbpf_wrapped STATIC IMPORTED GLOBAL)
set_target_properties(taskwork_libbpf_wrapped PROPERTIES
    IMPORTED_LOCATION "${TASKWORK_LIBBPF_A}"
    INTERFACE_LINK_OPTIONS "${wrap_flags}"
    INTERFACE_LINK_LIBRARIES "taskwork_uapi;${TASKWORK_LIBELF_A};${TASKWORK_LIBZ_A}")

# taskwork_wrap_libbpf(<target>): links libbpf answered in process. On a layer, for its users too.
function(taskwork_wrap_libbpf target)
    taskwork_link(${target} taskwork_libbpf_wrapped)
endfunction()
