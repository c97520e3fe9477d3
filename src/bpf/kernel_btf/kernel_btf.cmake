# SPDX-License-Identifier: Apache-2.0
#
# Compiles kernel_btf.c to raw BTF, ${TASKWORK_BPF_DIR}/kernel_btf.btf, and embeds it in the layer.
find_program(TASKWORK_LLVM_OBJCOPY NAMES llvm-objcopy-19 REQUIRED)
set(kernel_btf "${TASKWORK_BPF_DIR}/kernel_btf")
add_custom_command(
    OUTPUT "${kernel_btf}.btf"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${TASKWORK_BPF_DIR}"
    COMMAND "${TASKWORK_BPF_CLANG}" -target bpf -mcpu=v3 -O2 -g -funsigned-char -Wall -Wextra
            -Wno-unused-parameter -Werror "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/="
            -c "${CMAKE_CURRENT_LIST_DIR}/kernel_btf.c" -o "${kernel_btf}.o"
    COMMAND "${TASKWORK_LLVM_OBJCOPY}" "--dump-section=.BTF=${kernel_btf}.btf" "${kernel_btf}.o"
    DEPENDS "${CMAKE_CURRENT_LIST_DIR}/kernel_btf.c" "${CMAKE_CURRENT_LIST_DIR}/task_struct.h"
    COMMENT "Building our kernel BTF"
    VERBATIM)
add_custom_target(bpf_kernel_btf DEPENDS "${kernel_btf}.btf")
add_dependencies(bpf_objects bpf_kernel_btf)
taskwork_embed(taskwork_bpf taskwork_kernel_btf "${kernel_btf}.btf")
# Both the target and the layer name the file; without this they might make it at the same time.
add_dependencies(taskwork_bpf bpf_kernel_btf)
