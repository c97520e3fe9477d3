# SPDX-License-Identifier: Apache-2.0
#
# The libc symbols through which libbpf 1.1.2 and its users reach the kernel. A program linked with
# taskwork_libbpf_wrapped calls __wrap_<name> in their place, which this layer defines (wrap.cpp); the
# original is __real_<name>.
set(TASKWORK_WRAP_SYMBOLS
    syscall     # bpf(2), perf_event_open
    ioctl
    mmap
    mmap64
    munmap
    close
    close_range
    closefrom
    dup
    dup2
    dup3
    fcntl
    fcntl64
    fopen
    fopen64
    open
    open64
    faccessat
    access
    epoll_wait
    epoll_pwait
    poll
    ppoll)
