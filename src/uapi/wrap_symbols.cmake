# SPDX-License-Identifier: Apache-2.0
#
# The libc symbols through which libbpf 1.1.2 and its users reach the kernel. A program linked with
# taskwork_libbpf_wrapped calls __wrap_<name> in their place, which this layer defines; the
# original is __real_<name>.
set(TASKWORK_WRAP_SYMBOLS
    syscall
    ioctl
    mmap64
    munmap
    close
    fopen64
    open64
    faccessat
    dup3)
