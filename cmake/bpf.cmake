# SPDX-License-Identifier: Apache-2.0
#
# BPF objects, and files embedded in a target.

# Debian's plain clang is 14, which lacks what our objects need.
find_program(TASKWORK_BPF_CLANG NAMES clang-19 REQUIRED)
set(TASKWORK_BPF_DIR "${CMAKE_BINARY_DIR}/bpf")
add_custom_target(bpf_objects ALL)

# taskwork_bpf_object(<name> <source.bpf.c> [OPTIONS <flag>...])
# Compiles into ${TASKWORK_BPF_DIR}/<name>.bpf.o; the target bpf_<name> makes it, bpf_objects all.
function(taskwork_bpf_object name source)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "OPTIONS")
    cmake_path(ABSOLUTE_PATH source)
    set(object "${TASKWORK_BPF_DIR}/${name}.bpf.o")
    add_custom_command(
        OUTPUT "${object}"
        COMMAND "${CMAKE_COMMAND}" -E make_directory "${TASKWORK_BPF_DIR}"
        COMMAND "${TASKWORK_BPF_CLANG}" -target bpf -mcpu=v3 -O2 -g -Wall -Werror
                -D__TARGET_ARCH_x86
                "-I${CMAKE_SOURCE_DIR}/include"
                # <asm/types.h> stands in the multiarch folder, which a BPF target does not search.
                -idirafter /usr/include/x86_64-linux-gnu
                # Where the sources are found by the names in the debug information, clang adds their
                # lines, which the verifier's log shows.
                "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=" -fdebug-compilation-dir=. ${arg_OPTIONS}
                -MMD -MT "${object}" -MF "${object}.d" -c "${source}" -o "${object}"
        WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
        DEPENDS "${source}"
        DEPFILE "${object}.d"
        COMMENT "Building BPF object ${name}.bpf.o"
        VERBATIM)
    add_custom_target(bpf_${name} DEPENDS "${object}")
    add_dependencies(bpf_objects bpf_${name})
endfunction()

# taskwork_bpf_objects(<folder>): every x.bpf.c there, as object x.
function(taskwork_bpf_objects folder)
    cmake_path(ABSOLUTE_PATH folder NORMALIZE)
    file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.bpf.c")
    foreach(source IN LISTS sources)
        cmake_path(GET source STEM name)
        taskwork_bpf_object(${name} "${source}")
    endforeach()
endfunction()

# taskwork_embed(<target> <symbol> <file>)
# Puts the file's bytes into the target, read-only and 8-byte aligned. In C++:
#   extern "C" const unsigned char <symbol>[], <symbol>_end[];
function(taskwork_embed target symbol file)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}")
    set(assembler "${CMAKE_CURRENT_BINARY_DIR}/${symbol}.S")
    file(CONFIGURE OUTPUT "${assembler}" @ONLY CONTENT
[[    .section .rodata.@symbol@, "a", @progbits
    .global @symbol@, @symbol@_end
    .hidden @symbol@, @symbol@_end
    .balign 8
    .type @symbol@, @object
@symbol@:
    .incbin "@file@"
@symbol@_end:
    .size @symbol@, @symbol@_end - @symbol@
    .section .note.GNU-stack, "", @progbits
]])
    set_source_files_properties("${assembler}" PROPERTIES OBJECT_DEPENDS "${file}")
    target_sources(${target} PRIVATE "${assembler}")
endfunction()
